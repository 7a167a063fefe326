"""Whose credentials sign, for which region and at which endpoint: always those that botocore would use, seen on the wire."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from payloadfs.errors import ConfigError, PayloadError
from payloadfs.stores import chosen_transport, open_store
from payloadfs.stores._aws import Credentials, s3_target
from payloadfs.stores._obstore_options import Limits
from payloadfs.testing import PiecesBody

from .answering import Answering, give

_SIGNED = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/s3/")
# By default: another server, a missing profile, and keys of a file and of variables, with which a request is signed.
_FEW, _BOUNDED, _LONG = (1, 2, 7, 14), {"obstore": range(30), "fsspec": range(12)}, range(400)


@pytest.fixture
def server() -> Iterator[Answering]:
    server = Answering()
    server.answer = lambda client, *_: give(client, 200)
    yield server
    server.close()


def _section(draw: random.Random, name: str, server: str) -> str:
    lines = [f"[{name}]"]
    if draw.random() < 0.6:
        lines += [f"aws_access_key_id = KEY{draw.randrange(99)}", "aws_secret_access_key = secret%(x)s"]
        if draw.random() < 0.4:
            lines.append("aws_session_token = token==")
    if draw.random() < 0.5:
        lines.append(f"region = {draw.choice(['eu-west-1', 'us-east-1', 'ap-south-1'])}")
    if draw.random() < 0.4:
        lines.append(f"endpoint_url = {server}")
    if draw.random() < 0.1:
        lines.append("ignore_configured_endpoint_urls = true")
    if draw.random() < 0.1:
        lines += ["s3 =", f"  addressing_style = {draw.choice(['path', 'auto'])}"]
    return "\n".join(lines) + "\n"


def _write_files(draw: random.Random, folder: Path, server: str) -> None:
    config, secrets = folder / "config", folder / "credentials"
    for path in (config, secrets):
        path.unlink(missing_ok=True)
    if draw.random() < 0.6:
        names = draw.sample(["default", "profile default", "profile dev", "profile prod"], draw.randrange(1, 5))
        config.write_text("".join(_section(draw, name, server) for name in names))
    if draw.random() < 0.6:
        names = draw.sample(["default", "dev", "prod"], draw.randrange(1, 4))
        secrets.write_text("".join(_section(draw, name, server) for name in names))


def _arrange(seed: int, folder: Path, server: str, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write AWS files and set variables at random, and return storage options."""
    draw = random.Random(seed)
    _write_files(draw, folder, server)
    config, secrets = folder / "config", folder / "credentials"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", str(config))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(secrets))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    values = {
        "AWS_ACCESS_KEY_ID": "ENVKEY",
        "AWS_SECRET_ACCESS_KEY": "envsecret",
        "AWS_SESSION_TOKEN": "envtoken",
        "AWS_SECURITY_TOKEN": "oldtoken",
        "AWS_PROFILE": draw.choice(["dev", "prod", "default", "missing"]),
        "AWS_DEFAULT_PROFILE": draw.choice(["dev", "prod"]),
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_REGION": "eu-south-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": draw.choice(["true", "false"]),
    }
    for name, value in values.items():
        if draw.random() < (0.5 if "KEY" in name else 0.3):
            patch.setenv(name, value)
    options: dict[str, Any] = {}
    if draw.random() < 0.2:
        options |= {"key": "OPTKEY", "secret": "optsecret"}
    if draw.random() < 0.2:
        options["profile"] = draw.choice(["dev", "prod", "missing"])
    if draw.random() < 0.2:
        options["client_kwargs"] = {"region_name": "sa-east-1"}
    if draw.random() < 0.3:
        options["endpoint_url"] = server
    return options


def _seen_from_botocore(options: dict[str, Any], server: Answering) -> str:
    """Return who signs a request of a plain botocore client with the same options, or why there is none."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        client = Session(profile=options.get("profile")).create_client(
            "s3",
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            endpoint_url=options.get("endpoint_url"),
            region_name=options.get("client_kwargs", {}).get("region_name"),
            config=Config(retries={"total_max_attempts": 1}),
        )
        if not client.meta.endpoint_url.startswith(server.endpoint_url):
            return "another server"
        try:
            client.put_object(Bucket="bucket", Key="k", Body=b"x")
        finally:
            client.close()
    except (BotoCoreError, ValueError) as error:
        return type(error).__name__
    return _last_signature(server)


def _last_signature(server: Answering) -> str:
    match = _SIGNED.search(server.headers[-1].get("authorization", ""))
    return f"{match[1]} {match[2]} {server.headers[-1].get('x-amz-security-token')}" if match else "not signed"


def _compare(seed: int, folder: Path, server: Answering, transport: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        options = _arrange(seed, folder, server.endpoint_url, patch)
        expected = _seen_from_botocore(options, server)
        if expected == "another server":
            # Nothing may be sent to Amazon from here; where it would go is compared instead.
            name, _ = chosen_transport("s3://bucket", options, "auto")
            if name == "obstore":
                assert server.endpoint_url not in repr(s3_target("s3://bucket", options).new_client(Limits(1, 1, 1))), (
                    seed
                )
            return expected
        chosen = "auto" if transport == "obstore" else transport
        before = len(server.headers)
        try:
            open_store("s3://bucket", options, transport=chosen).put("k", PiecesBody([b"x"]))
        except PayloadError:
            assert len(server.headers) == before, (seed, expected)
            assert expected.endswith(("Error", "NotFound")), (seed, expected)
            return expected
        assert _last_signature(server) == expected, (seed, options, chosen_transport("s3://bucket", options, "auto"))
        return expected


def _sweep(seeds: Sequence[int], folder: Path, server: Answering, transport: str) -> None:
    outcomes = {_compare(seed, folder, server, transport) for seed in seeds}
    assert len(outcomes) > (3 if seeds == _FEW else 5)


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize("is_bounded", [False, pytest.param(True, marks=pytest.mark.sweep)])
def test_the_identity_that_signs_is_botocores(
    server: Answering, tmp_path: Path, transport: str, is_bounded: bool
) -> None:
    _sweep(_BOUNDED[transport] if is_bounded else _FEW, tmp_path, server, transport)


@pytest.mark.long
@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
def test_the_identity_that_signs_is_botocores_in_many_cases(server: Answering, tmp_path: Path, transport: str) -> None:
    _sweep(_LONG, tmp_path, server, transport)


@pytest.mark.parametrize("secret", ["secret\n", "se cret", "secret\r", "se\x00cret"])
@pytest.mark.parametrize("name", ["key", "secret", "token"])
def test_credentials_that_no_server_accepts_are_refused_by_name(name: str, secret: str) -> None:
    options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9", name: secret}
    with pytest.raises(
        ConfigError, match={"key": "access key", "secret": "secret key", "token": "token"}[name]
    ) as caught:
        open_store("s3://bucket", options, transport="obstore")
    assert secret not in str(caught.value)
    assert repr(secret)[1:-1] not in str(caught.value)


def test_no_secret_in_repr() -> None:
    assert "the-secret" not in repr(Credentials("k", "the-secret", "the-secret"))


@pytest.mark.parametrize(
    ("options", "bucket", "endpoint"),
    [
        ({"region": "eu-west-1"}, "my-bucket", "https://my-bucket.s3.eu-west-1.amazonaws.com"),
        ({"region": "cn-north-1"}, "my-bucket", "https://my-bucket.s3.cn-north-1.amazonaws.com.cn"),
        ({"region": "eu-west-1"}, "my.bucket", "https://s3.eu-west-1.amazonaws.com"),
        (
            {"region": "eu-west-1", "config_kwargs": {"s3": {"addressing_style": "path"}}},
            "my-bucket",
            "https://s3.eu-west-1.amazonaws.com",
        ),
        ({"endpoint_url": "https://minio.example.org:9000/"}, "my-bucket", "https://minio.example.org:9000"),
    ],
)
def test_the_bucket_is_in_the_host_name_on_amazon_only(options: dict[str, Any], bucket: str, endpoint: str) -> None:
    target = s3_target(f"s3://{bucket}/x", {"key": "k", "secret": "s", **options})
    assert target.new_client(Limits(1, 1, 1)).config["endpoint"] == endpoint


def test_a_missing_file_of_certificates_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(ConfigError, match=r"/no/such/file\.pem.*AWS_CA_BUNDLE"):
        open_store("s3://bucket", {"key": "k", "secret": "s", "endpoint_url": "https://127.0.0.1:9"})


@pytest.mark.parametrize("form", ["*", "127.0.0.1:9", "other.example.org", ""])
def test_proxies_that_obstore_would_read_differently_lead_to_s3fs(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("NO_PROXY", form)
    options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9"}
    name, reason = chosen_transport("s3://bucket", options, "auto")
    assert name == "fsspec"
    assert "proxy" in reason


def test_settings_of_fsspec_lead_to_fsspec(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.config import conf

    options = {"key": "k", "secret": "s", "endpoint_url": "http://127.0.0.1:9"}
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    assert chosen_transport("s3://bucket", options, "auto")[0] == "fsspec"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert "STORAGE_EMULATOR_HOST" in chosen_transport("gs://bucket", {"token": "anon"}, "auto")[1]
