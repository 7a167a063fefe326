"""The repository: a store, serializers, keys and a policy. It alone knows the order of steps.

Saving:  serializer > frames > digest beside the write > store > signed pointer.
Loading: signature > policy > store, or a near copy of what is in it > size > digest > serializer. No
step is ever skipped, and nothing falls back to another.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from . import config
from ._authorization import Admission
from ._batch import Batch, ManyAtOnce
from ._keys import check_key, new_key
from ._log import log_done
from ._seal import Outgoing, check
from ._typenames import type_label
from .errors import NotFoundError, about
from .pointer import Pointer
from .policy import Policy
from .serializers import Serializer, SerializerRegistry, decode, default_serializers
from .signing import KeyRing
from .small_loads import SmallLoads
from .stores import ObjectInfo, OpenStores, Store

__all__ = ["Repository"]


class Repository(ManyAtOnce):
    """Objects under one root.

    Parameters
    ----------
    url : str or os.PathLike, optional
        A folder or any fsspec URL. Default: the configured one.
    storage_options : mapping, optional
        Credentials and endpoint, as the fsspec filesystem of the URL takes them.
    keys : KeyRing, optional
        Default: those of the configured key file, which is made with the first save.
    policy : Policy, optional
        What may be resolved. Default: this root and the configured ones, under the configured rules.
    serializers : SerializerRegistry, optional
        Default: the built-in ones and those of `payloadfs.register_serializer`.
    root_aliases : mapping of str to str, optional
        Old roots and where their objects lie now.
    **settings
        ``verify``, ``digest``, ``transport``, ``compression``, ``fsync``, ``cache``, ``cache_bytes``,
        ``allowed_roots``, ``pickle``, ``unsigned``, ``max_bytes`` and ``keys_file``, as in
        `payloadfs.configure`, for this repository only.

    Raises
    ------
    ConfigError
        A setting is wrong. Nothing was opened.

    Examples
    --------
    >>> repository = Repository("memory://demo")
    >>> repository.load(repository.save([1, 2]))
    [1, 2]
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        storage_options: Mapping[str, Any] | None = None,
        *,
        keys: KeyRing | None = None,
        policy: Policy | None = None,
        serializers: SerializerRegistry | None = None,
        root_aliases: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        given = {"url": url, "storage_options": storage_options, "keys": keys, **settings}
        self.settings = config.current().merged(**{name: value for name, value in given.items() if value is not None})
        self.serializers = serializers or default_serializers
        self.policy = policy or Policy(
            roots=self.settings.roots,
            pickle=self.settings.pickle,
            unsigned=self.settings.unsigned,
            max_bytes=self.settings.max_bytes,
        )
        self._door = Admission(self.settings, self.policy, root_aliases or {})
        self._stores = OpenStores(self.settings)

    @property
    def root(self) -> str:
        """Canonical URL under which objects are saved."""
        return self.settings.url

    @property
    def store(self) -> Store:
        """The store at `root`."""
        return self._stores.at(self.root)

    @property
    def keys(self) -> KeyRing:
        """The keys that sign and verify here; the first use makes one if there is none."""
        return self._door.signing

    def save(self, obj: Any, *, prefix: str | None = None, compression: str | None = None) -> Pointer:
        """Store `obj` and return the signed pointer to it.

        Parameters
        ----------
        obj : object
            Anything that some serializer can store exactly.
        prefix : str, optional
            First part of the key, to find or drop a run's objects together. Default: the date (UTC).
        compression : {"none", "zstd", "lz4"}, optional
            Default: the setting. What it makes no smaller, and what is small, is stored as it is.

        Returns
        -------
        Pointer

        Raises
        ------
        EncodeError
            `obj` can't be stored exactly. Nothing was written.
        StoreError
            The store failed. Nothing is visible.

        Notes
        -----
        Cost: one object, one request for small ones; frames are written from the object's own
        memory and hashed beside the write.
        """
        started_s = time.perf_counter()
        ring = self.keys
        settings = self.settings if compression is None else self.settings.merged(compression=compression)
        serializer, encoded = self.serializers.encode(obj, compression=settings.compression)
        key = new_key(prefix, encoded.extension)
        outgoing = Outgoing(encoded, "b3" if self.settings.digest == "blake3" else "s256")
        self.store.put(key, outgoing)
        pointer = Pointer(
            root=self.root,
            key=key,
            serializer=serializer.id,
            size_bytes=outgoing.size_bytes,
            digest=outgoing.digest,
            created_s=int(time.time()),
            type_name=type_label(obj),
        ).signed(ring)
        log_done("saved", pointer, started_s)
        return pointer

    def load(self, pointer: Pointer, *, view: bool = False) -> Any:
        """Return an independent copy of the object that `pointer` names.

        Parameters
        ----------
        pointer : Pointer
            Made by `save`, in any process.
        view : bool
            Read-only arrays instead of writable ones.

        Returns
        -------
        object
            Equal to what was saved; nothing else shares its memory.

        Raises
        ------
        SignatureError, PolicyError
            The pointer may not be resolved here. Nothing was fetched.
        NotFoundError, StoreError
            The store has no such object, or failed.
        IntegrityError
            The bytes are not those that were saved. Nothing was decoded.
        DecodeError
            Good bytes, but this process can't decode them.

        Notes
        -----
        Cost: one request for small objects, none if this machine's cache has a copy; on this user's
        own disk, the cache's too, a private mapping, no copy.
        """
        started_s = time.perf_counter()
        with about(pointer):
            place, serializer = self._admit(pointer)
            value = self._decoded(pointer, serializer, self._checked_bytes(place, full=False), view=view)
        log_done("loaded", pointer, started_s)
        return value

    def read(self, pointer: Pointer, *, full: bool = True) -> memoryview:
        """Return the checked bytes of the object without decoding them.

        Parameters
        ----------
        pointer : Pointer
            Its signature and the policy's roots and sizes are checked first.
        full : bool
            Whether data that only this user can have changed is checked too, and the bytes come
            from the store itself even if the cache has a copy.

        Raises as `load`, but for `DecodeError`.
        """
        with about(pointer):
            return self._checked_bytes(self._door.placed(pointer), full=full)

    def exists(self, pointer: Pointer) -> bool:
        """Return whether the object of `pointer` is in the store. One request; fetches no content."""
        try:
            self.info(pointer)
        except NotFoundError:
            return False
        return True

    def info(self, pointer: Pointer) -> ObjectInfo:
        """Return what the store tells of the object: size and time. One request."""
        with about(pointer):
            place = self._door.placed(pointer)
            return self._stores.at(place.root).info(place.key)

    def delete(self, pointer: Pointer) -> None:
        """Remove the object of `pointer`, and a copy in the cache, if they are there. It has to be signed."""
        with about(pointer):
            self._door.verify(pointer)
            place = self._door.placed(pointer)
            self._stores.at(place.root).delete(place.key)
            if (cache := self._stores.cache(place.root)) is not None:
                cache.forget(place.size_bytes, place.digest)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what is stored under `root`, ordered by key, only of `prefix` if one is given."""
        return self.store.list(f"{check_key(prefix)}/" if prefix else "")

    def check(self, pointer: Pointer) -> None:
        """Return if `load` would go on to fetch the object of `pointer`. No request.

        Raises
        ------
        SignatureError, PolicyError, DecodeError
            It would not.
        """
        with about(pointer):
            self._admit(pointer)

    def verify(self, pointer: Pointer) -> None:
        """Return if the signature of `pointer` is right. No request.

        Raises
        ------
        SignatureError
            It is wrong, missing, or by an unknown key.
        """
        with about(pointer):
            self._door.verify(pointer)

    def _admit(self, pointer: Pointer) -> tuple[Pointer, Serializer]:
        # The policy is asked before the serializer is looked up, which may load a plug-in's package.
        place = self._door.placed(pointer)
        serializer = self.serializers.by_id(pointer.serializer)
        self.policy.check(place, executable=serializer.executable)
        return place, serializer

    def _decoded(self, pointer: Pointer, serializer: Serializer, buffer: memoryview, *, view: bool) -> Any:
        trusted = pointer.is_signed or self.policy.pickle == "always"
        content = buffer.toreadonly() if view else buffer
        return decode(serializer, content, trusted=trusted, max_bytes=self.policy.max_bytes)

    def _small_loads(self, batch: Batch, *, view: bool) -> SmallLoads | None:
        # A subclass that loads in a way of its own does so for each.
        is_plain = type(self).load is Repository.load
        if not is_plain or (reads := self._stores.small_reads(self.root)) is None:
            return None
        return SmallLoads(batch, reads, self.root, self._admit, partial(self._decoded, view=view))

    def _checked_bytes(self, place: Pointer, *, full: bool) -> memoryview:
        store, data = self._stores.at(place.root), full or self.settings.verify == "full"
        cache = self._stores.cache(place.root)
        # What is asked for in full is to be there, not only near.
        if cache is not None and not full:
            copy = cache.checked(store, place.key, place.size_bytes, place.digest, data=data)
            if copy is not None:
                return copy
        fetched = store.get(place.key, place.size_bytes)
        check(fetched.buffer, place.digest, data=data or not fetched.owner_only)
        return fetched.buffer

    def __repr__(self) -> str:
        return f"Repository({self.root!r})"
