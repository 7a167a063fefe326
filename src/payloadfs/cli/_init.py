"""``init``: writes the configuration file and a signing key, and says what to set where tasks run."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from .. import config
from .._atomic import atomic_file
from .._urls import scheme_of
from ..errors import ConfigError
from ..repository import Repository
from ._common import printable


def configure_init(parser: argparse.ArgumentParser, _: argparse.ArgumentParser) -> None:
    """Add the options of ``init``."""
    parser.add_argument(
        "url", metavar="URL", help="where objects are stored: a folder or a URL such as s3://bucket/prod"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    repository = Repository(arguments.url)
    settings = repository.settings
    existed = settings.keys_file.exists()
    signing_key = repository.keys.require_signing_key()
    path = _write_config(settings.url)
    if arguments.json:
        result = {"config": str(path), "url": settings.url, "keys_file": str(settings.keys_file), "key": signing_key.id}
        print(json.dumps(result))
        return 0
    print(printable(f"Wrote {path}: objects go to {settings.url}."))
    print(printable(f"{'Found' if existed else 'Generated'} the signing key {signing_key.id} in {settings.keys_file}."))
    print(_workers(settings.url, signing_key.id))
    return 0


def _write_config(url: str) -> Path:
    path = config.config_file()
    if path is None:
        raise ConfigError(
            "The home folder was not found: set PAYLOADFS_CONFIG to the path of the configuration file.", kind="no-home"
        )
    try:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)
        with atomic_file(str(path), replace=False, mode=0o600, fsync=False) as file:
            file.write(f"url = {json.dumps(url)}\n".encode())
    except FileExistsError as error:
        message = f"{path} already exists, and was not changed: edit it, or set PAYLOADFS_URL."
        raise ConfigError(message, kind="config-exists") from error
    return path


def _workers(url: str, key_id: str) -> str:
    credentials = "" if scheme_of(url) in ("file", "memory") else "\n  and the credentials of the store"
    return f"""
Set on every machine that saves or loads:
  PAYLOADFS_URL={url}
  PAYLOADFS_KEYS="$(payloadfs keys export {key_id})", as a secret{credentials}
Then check each with: payloadfs doctor --write"""
