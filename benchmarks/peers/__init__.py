"""The libraries that are compared, each in its best documented mode."""

from __future__ import annotations

from importlib import import_module

from ._base import Peer as Peer
from ._base import Place as Place
from ._base import Way as Way

__all__ = ["PEERS", "Peer", "Place", "Way", "open_peer"]

PEERS: dict[str, Way] = {
    "payloadfs": Way("own:Own", "signed, with digests, no fsync, like all others here"),
    "payloadfs, fsync": Way("own:Synced", "the default policy: returns once the bytes are on the disk"),
    "payloadfs, verify=full": Way("own:Full", "every byte hashed on load; no fsync"),
    "pickle": Way("pickles:Pickle", "`pickle.dump` with protocol 5 to a new file, `pickle.load`"),
    "cloudpickle + fsspec": Way("pickles:Cloudpickle", "`cloudpickle.dump` into `fsspec.open`, `pickle.load` from it"),
    "joblib": Way("pickles:Joblib", "`joblib.dump` and `load`, uncompressed"),
    "joblib, mmap": Way("pickles:JoblibMapped", "`joblib.load(mmap_mode='c')`: mapped, writable copy"),
    "pickle + two copies": Way(
        "pickles:TwoCopies",
        "the steps that lightning-app's documentation describes for a payload: pickled to a file, copied to the shared "
        "folder, copied by the reader, loaded. Our implementation, without its waiting; not the package itself",
    ),
    "Feather": Way(
        "tables:Feather",
        "`to_feather` uncompressed in one chunk, `feather.read_table(memory_map=True)`, `split_blocks`",
    ),
    "Parquet": Way("tables:Parquet", "`to_parquet` and `read_parquet` with defaults"),
    "safetensors": Way("arrays:SafeTensors", "`save_file` and `load_file` of its numpy module"),
    "ProxyStore": Way("proxies:ProxyStore", "FileConnector, its default serializer, no cache"),
    "Ray": Way("clusters:Ray", "`ray.put` in one driver, `ray.get` in another; in memory, gone with the cluster"),
    "Dask": Way("clusters:Dask", "`scatter` by one client, `result` by another; in memory, gone with the cluster"),
    "write, read": Way(
        "limits:Raw", "`write(2)` of the same number of bytes to a new file, `readinto` new memory", limit=True
    ),
    "BLAKE3": Way("limits:Hash", "the bytes mapped and hashed on all cores", limit=True),
    "payloadfs, S3": Way("own:OnS3", "signed, with digests; without the cache on disk"),
    "payloadfs, S3, cache": Way("own:OnS3Cached", "by default: the first load fills the cache on disk and maps it"),
    "s3fs": Way("s3:S3fs", "`pipe_file` and `cat_file`"),
    "obstore": Way(
        "s3:Obstore", "`put` and `get().bytes()`; batches in threads, which is faster than its asynchronous calls"
    ),
    "pyarrow.fs": Way("s3:Arrow", "`S3FileSystem` streams"),
    "boto3": Way("s3:Boto3", "`put_object` and `get_object`"),
    "boto3, transfer": Way("s3:Boto3Transfer", "`upload_fileobj` and `download_fileobj`, its classic transfer"),
    "boto3, CRT": Way("s3:Boto3Crt", "the same with `preferred_transfer_client='crt'`"),
}


def open_peer(name: str, place: Place) -> Peer:
    """Return the peer `name`, which stores its objects at `place`. Imports its packages.

    Raises
    ------
    ImportError
        If the library is not installed.
    """
    module, _, kind = PEERS[name].where.partition(":")
    peer: Peer = getattr(import_module(f"{__name__}.{module}"), kind)(place)
    return peer
