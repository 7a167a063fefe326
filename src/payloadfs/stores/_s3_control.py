"""Requests to S3 that neither transport can be trusted with, through botocore: complete listings, open uploads, rules.

obstore ends a listing without an error if the server says that there is more but not where it continues, and takes
any page for an empty listing. botocore leaves these checks to its caller.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from .._forks import PerProcess
from .._keys import ID
from ..errors import ConfigError, NotFoundError, StoreError
from ._base import Leftover
from ._retry import Retry


class S3Control:
    """The requests for one bucket and path, with options of s3fs. Each process creates its client for the first one."""

    def __init__(self, root: str, storage_options: Mapping[str, Any], retry: Retry) -> None:
        self._root, self._options, self._retry = root, storage_options, retry
        self._bucket, _, path = root.partition("://")[2].partition("/")
        self._folder = f"{path}/" if path else ""
        self._payer = {"RequestPayer": "requester"} if storage_options.get("requester_pays") else {}
        self.forget()

    def forget(self) -> None:
        """Look for credentials again with the next request."""
        self._clients = PerProcess(partial(_client, self._options, self._retry))

    def list(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Yield the entries of all objects whose key begins with `prefix`. One request per 1,000.

        Raises
        ------
        StoreError
            ``kind="listing"``: an answer is not a complete page of a listing.
        """
        page: Mapping[str, Any] = {}
        while True:
            position = {"ContinuationToken": page["NextContinuationToken"]} if page else {}
            request = {"Prefix": self._folder + prefix, **position, **self._payer}
            page = self._call(
                "list", prefix, "list_objects_v2", check=partial(self._check_page, prefix, page), **request
            )
            yield from page.get("Contents", ())
            if not page["IsTruncated"]:
                return

    def _check_page(self, prefix: str, before: Mapping[str, Any], page: Mapping[str, Any]) -> None:
        token = page.get("NextContinuationToken")
        if "IsTruncated" not in page or (
            page["IsTruncated"] and (not token or token == before.get("NextContinuationToken"))
        ):
            raise StoreError(
                f"Cannot list {prefix!r} in {self._root}: the answer is not a complete listing of an object store.",
                kind="listing",
            )

    def leftovers(self) -> Iterator[Leftover]:
        """Yield the open uploads of payloadfs. One request per 1,000."""
        position: dict[str, Any] = {}
        while True:
            page = self._call("list", "", "list_multipart_uploads", Prefix=self._folder, **position)
            for upload in page.get("Uploads", ()):
                key, upload_id = upload["Key"], upload["UploadId"]
                if ID.match(key.rpartition("/")[2]):
                    abort = partial(self._call, "delete", key, "abort_multipart_upload", Key=key, UploadId=upload_id)
                    yield Leftover(f"upload of {key}", upload["Initiated"].timestamp(), partial(_ignore_gone, abort))
            position = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
            if not page.get("IsTruncated") or not position["KeyMarker"]:
                return
            position = {name: value for name, value in position.items() if value}

    def set_rules(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Replace the lifecycle rules of payloadfs in the bucket by `rules`, and keep all others. Two requests."""
        ours = {rule["ID"] for rule in rules}
        try:
            found = self._call("get", "lifecycle", "get_bucket_lifecycle_configuration")["Rules"]
        except NotFoundError:
            found = []
        kept = [rule for rule in found if rule.get("ID") not in ours]
        self._call(
            "put", "lifecycle", "put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [*kept, *rules]}
        )

    def _call(
        self, operation: str, key: str, method: str, *, check: Callable[[Any], None] = lambda _: None, **options: Any
    ) -> Any:
        def attempt() -> Any:
            answer = getattr(self._clients[os.getpid()], method)(Bucket=self._bucket, **options)
            check(answer)
            return answer

        # botocore's own limits start again with each byte that arrives.
        return self._retry.watch(operation, key, partial(self._retry.call, operation, key, attempt))


def _client(options: Mapping[str, Any], retry: Retry) -> Any:
    try:
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.session import Session
    except ImportError as error:
        raise ConfigError("Listing S3 needs botocore: pip install 'payloadfs[s3]'.", kind="missing-package") from error
    names = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token"}
    names |= {"region": "region_name"} | {name: name for name in ("endpoint_url", "region_name", "use_ssl")}
    given = {names[name]: value for name, value in options.items() if name in names and value is not None}
    config: dict[str, Any] = {
        "connect_timeout": retry.connect_s,
        "read_timeout": retry.request_s,
        "retries": {"total_max_attempts": 1},
        **options.get("config_kwargs", {}),
    }
    if options.get("anon"):
        config["signature_version"] = UNSIGNED
    session = Session(profile=options.get("profile"))
    return session.create_client("s3", config=Config(**config), **{**given, **options.get("client_kwargs", {})})


def _ignore_gone(abort: Callable[[], Any]) -> None:
    try:
        abort()
    except NotFoundError:
        return
    except StoreError as error:
        if error.kind != "upload-gone":
            raise
