"""S3 clients. They transfer bytes; an array is sent from its memory and comes back as a view."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ._base import Peer, Place

REGION = "us-east-1"


def _bytes(obj: Any) -> memoryview:
    return memoryview(obj).cast("B")


async def _gathered(get: Callable[[str], Awaitable[Any]], tokens: Sequence[str], max_concurrency: int) -> list[Any]:
    """Return the result of `get` for each token, at most `max_concurrency` at the same time."""
    slots = asyncio.Semaphore(max_concurrency)

    async def one(token: str) -> Any:
        async with slots:
            return _array(await get(token))

    return await asyncio.gather(*map(one, tokens))


class TakesBytes(Peer):
    """A client that accepts only bytes: creating the bytes is not timed."""

    content: tuple[Any, bytes] = (None, b"")

    def prepare(self, obj: Any) -> None:
        if self.content[0] is not obj:
            self.content = obj, _bytes(obj).tobytes()


def _array(content: Any) -> Any:
    import numpy as np

    return np.frombuffer(content, dtype="f8")


class S3fs(TakesBytes):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import fsspec.asyn
        import s3fs

        self.sync = fsspec.asyn.sync
        options = {"client_kwargs": {"region_name": REGION}, "skip_instance_cache": True}
        self.fs = s3fs.S3FileSystem(key=place.key, secret=place.secret, endpoint_url=place.endpoint_url, **options)

    def save(self, obj: Any, number: int) -> str:
        path = f"{self.place.bucket}/s3fs/{number}"
        self.fs.pipe_file(path, self.content[1])
        return path

    def load(self, token: str) -> Any:
        return _array(self.fs.cat_file(token))

    def load_many(self, tokens: Sequence[str], max_concurrency: int) -> list[Any]:
        # Not `cat`: it fetches a key that occurs twice only once.
        found: list[Any] = self.sync(self.fs.loop, _gathered, self.fs._cat_file, tokens, max_concurrency)
        return found

    def forget(self, token: str) -> None:
        self.fs.rm_file(token)


class Obstore(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import obstore
        from obstore.store import S3Store

        self.obstore = obstore
        self.store = S3Store(
            place.bucket,
            endpoint=place.endpoint_url,
            access_key_id=place.key,
            secret_access_key=place.secret,
            region=REGION,
            client_options={"allow_http": True},
        )

    def save(self, obj: Any, number: int) -> str:
        self.obstore.put(self.store, f"obstore/{number}", _bytes(obj))
        return f"obstore/{number}"

    def load(self, token: str) -> Any:
        return _array(self.obstore.get(self.store, token).bytes())

    def forget(self, token: str) -> None:
        self.obstore.delete(self.store, token)


class Arrow(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import pyarrow.fs

        scheme, _, host = place.endpoint_url.partition("://")
        self.fs = pyarrow.fs.S3FileSystem(
            access_key=place.key, secret_key=place.secret, endpoint_override=host, scheme=scheme, region=REGION
        )

    def save(self, obj: Any, number: int) -> str:
        path = f"{self.place.bucket}/arrow/{number}"
        with self.fs.open_output_stream(path) as stream:
            stream.write(_bytes(obj))
        return path

    def load(self, token: str) -> Any:
        with self.fs.open_input_file(token) as file:
            return _array(file.read_buffer())

    def forget(self, token: str) -> None:
        self.fs.delete_file(token)


class Boto3(TakesBytes):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import boto3
        from botocore.config import Config

        self.client = boto3.client(
            "s3",
            endpoint_url=place.endpoint_url,
            aws_access_key_id=place.key,
            aws_secret_access_key=place.secret,
            region_name=REGION,
            config=Config(max_pool_connections=64),
        )

    def name(self, number: int) -> str:
        return f"{type(self).__name__}/{number}"

    def save(self, obj: Any, number: int) -> str:
        self.client.put_object(Bucket=self.place.bucket, Key=self.name(number), Body=self.content[1])
        return self.name(number)

    def load(self, token: str) -> Any:
        return _array(self.client.get_object(Bucket=self.place.bucket, Key=token)["Body"].read())

    def forget(self, token: str) -> None:
        self.client.delete_object(Bucket=self.place.bucket, Key=token)


class Boto3Transfer(Boto3):
    transfer = "classic"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        from boto3.s3.transfer import TransferConfig

        self.config = TransferConfig(preferred_transfer_client=self.transfer)

    def save(self, obj: Any, number: int) -> str:
        file = io.BytesIO(self.content[1])
        self.client.upload_fileobj(file, self.place.bucket, self.name(number), Config=self.config)
        return self.name(number)

    def load(self, token: str) -> Any:
        file = io.BytesIO()
        self.client.download_fileobj(self.place.bucket, token, file, Config=self.config)
        return _array(file.getbuffer())


class Boto3Crt(Boto3Transfer):
    transfer = "crt"

    def __init__(self, place: Place) -> None:
        import awscrt  # noqa: F401  without it boto3 silently uses its classic transfer

        super().__init__(place)
