"""The repository: a store, serializers, keys and a policy. It alone knows the order of steps.

Saving:  serializer > frames > digest, while the store writes > signed pointer.
Loading: signature > policy > store or cache > size > digest > serializer. No step is ever skipped,
and no step falls back to another.
"""

from __future__ import annotations

import datetime
import heapq
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from . import config
from ._authorization import Authorizer
from ._batch import DEFAULT_CONCURRENCY, Batch
from ._forks import PerProcess
from ._html import table
from ._keys import EXPIRING, escape_prefix, new_key
from ._operation import Operation
from ._seal import Encoded, Outgoing, check
from ._settings import Compression, KeywordSettings, SaveOptions, Settings
from ._typenames import check_argument, type_label
from ._urls import scheme_of
from .errors import NotFoundError
from .pointer import INLINE_ALGORITHM, Pointer, about, as_pointer, check_context
from .policy import Policy
from .serializers import Serializer, SerializerRegistry, decode, default_serializers
from .signing import KeyRing
from .stores import ObjectInfo, OpenStores, Options, Store, fetch_intact, open_cache, open_store

if TYPE_CHECKING:
    from .stores._cache import Cache

__all__ = ["Repository", "default_repository"]

_MAX_REPOSITORIES = 32
_AHEAD = 256


class Repository:
    """Objects under one root.

    Parameters
    ----------
    url : str or os.PathLike, optional
        A folder or any fsspec URL. Default: the configured one.
    storage_options : mapping, optional
        Credentials and endpoint, in the form that the fsspec file system of the URL accepts.
    keys : KeyRing, optional
        Default: those in the configured key file, which the first save creates.
    policy : Policy, optional
        What may be resolved. Default: this root and the configured ones, under the configured rules.
    serializers : SerializerRegistry, optional
        Default: the built-in ones and those of `payloadfs.register_serializer`.
    root_aliases : mapping of str to str, optional
        Old roots, and the roots at which their objects are now.
    **settings
        ``verify``, ``digest``, ``transport``, ``compression``, ``fsync``, ``cache``, ``cache_bytes``,
        ``timeout``, ``allowed_roots``, ``pickle``, ``unsigned``, ``max_bytes``, ``max_age``, ``expires`` and ``keys_file``, as in
        `payloadfs.configure`, for this repository only.

    Raises
    ------
    ConfigError
        A setting is not valid. Nothing was opened.

    Notes
    -----
    A pickled repository has its URL and public settings; the process that unpickles it provides keys and credentials.

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
        policy: Policy | None = None,
        serializers: SerializerRegistry | None = None,
        root_aliases: Mapping[str, str] | None = None,
        **settings: Unpack[KeywordSettings],
    ) -> None:
        for name, value, cls in ("policy", policy, Policy), ("serializers", serializers, SerializerRegistry):
            check_argument(name, value, cls)
        check_argument("root_aliases", root_aliases, Mapping)
        given = {"url": url, "storage_options": storage_options, **settings}
        self.settings = config.current().merged(**{name: value for name, value in given.items() if value is not None})
        self.serializers = serializers or default_serializers
        self.policy = policy or Policy(
            roots=self.settings.roots,
            pickle=self.settings.pickle,
            unsigned=self.settings.unsigned,
            max_bytes=self.settings.max_bytes,
            max_age=self.settings.max_age,
        )
        self._arguments = {"policy": policy, "serializers": serializers, "root_aliases": root_aliases}
        self._authorizer = Authorizer(self.settings.keys, self.settings.keys_file, self.policy, root_aliases or {})
        # One for each process: connections do not survive a fork.
        self._stores = PerProcess(partial(OpenStores, self.settings.url))

    @property
    def root(self) -> str:
        """Canonical URL under which objects are saved."""
        return self.settings.url

    @property
    def store(self) -> Store:
        """The store at `root`."""
        return self._store_at(self.root)

    @property
    def keys(self) -> KeyRing:
        """The keys that sign and verify here; the first use creates one if there is none."""
        return self._authorizer.keys

    def save(
        self,
        obj: Any,
        *,
        prefix: str | None = None,
        compression: Compression | None = None,
        context: str | None = None,
        expires: int | str | datetime.timedelta | None = None,
    ) -> Pointer:
        """Store `obj` and return the signed pointer to it.

        Parameters
        ----------
        obj : object
            Anything that a serializer can store exactly.
        prefix : str, optional
            First part of the key, such as the id of a run, to find or delete its objects together.
            It may hold slashes; special characters are escaped. Default: the date (UTC).
        compression : {"none", "zstd", "lz4"}, optional
            Default: the setting. Small objects, and objects that do not get smaller, are stored uncompressed.
        context : str, optional
            What the object is for, such as the name of a run and a field. It is signed, and a reader must pass it
            again, so that the pointer cannot be used elsewhere.
        expires : int, str or datetime.timedelta, optional
            For how long the object can be loaded: seconds, a string such as ``"7d"``, or ``"never"``.
            Default: the setting. The bytes stay until ``payloadfs gc`` or a rule of the bucket removes them.

        Raises
        ------
        ConfigError
            The prefix or lifetime is not valid, or a key to sign with is missing. Nothing was written.
        PointerError
            The context is not valid or too long. Nothing was written.
        EncodeError
            `obj` cannot be stored exactly. Nothing was written.
        StoreError
            The store failed. Nothing is visible.

        Notes
        -----
        Cost: nothing but the signature if the encoded object has at most `Settings.inline_bytes` and does not
        expire, because the pointer then holds it. Otherwise one object, and one request if it is small; frames
        are written from the object's own memory and hashed at the same time.
        """
        cls: type = type(obj)
        with Operation("save") as operation:
            escaped, settings = self._check_options(prefix, compression, context, expires)
            ring = self.keys
            ring.require_signing_key()
            serializer, encoded = self.serializers.encode(obj, compression=settings.compression)
            operation.expect(type_name := type_label(cls), encoded.size_bytes)
            pointer = operation.pointer = Pointer(
                **self._put(encoded, escaped, settings),
                serializer=serializer.id,
                created_s=int(time.time()),
                type_name=type_name,
                context=context or "",
            ).signed(ring)
        return pointer

    def _put(self, encoded: Encoded, prefix: str | None, settings: Settings) -> dict[str, Any]:
        """Store an encoded object, unless it is small enough for the pointer, and return the fields that say where it is."""
        if encoded.size_bytes <= settings.inline_bytes and settings.inline_bytes and not settings.expires:
            outgoing = Outgoing(encoded, INLINE_ALGORITHM)
            data = b"".join(outgoing)
            return {"root": "", "key": "", "size_bytes": len(data), "digest": outgoing.digest, "data": data}
        key = new_key(prefix, encoded.extension, settings.expires)
        outgoing = Outgoing(encoded, "b3" if settings.digest == "blake3" else "s256")
        self.store.put(key, outgoing)
        return {"root": self.root, "key": key, "size_bytes": outgoing.size_bytes, "digest": outgoing.digest}

    def load(self, pointer: Pointer | Any, *, view: bool = False, context: str | None = None) -> Any:
        """Return an independent copy of the object that `pointer` names.

        Parameters
        ----------
        pointer : Pointer, Payload, str, bytes or mapping
            From `save`, in any process; as an object, as JSON text or as a dict.
        view : bool
            Read-only arrays instead of writable ones.
        context : str, optional
            What the pointer must have been saved for.

        Returns
        -------
        object
            Equal to what was saved; shares no memory with anything else.

        Raises
        ------
        PointerError
            `pointer` is not a pointer. Nothing was fetched.
        SignatureError, PolicyError
            The pointer is not allowed here. Nothing was fetched.
        NotFoundError, StoreError
            The object does not exist, or the store failed.
        IntegrityError
            The bytes are not those that were saved. Nothing was decoded.
        DecodeError
            The bytes are intact, but this process cannot decode them.

        Notes
        -----
        Cost: one request for small objects, none if the object is in the pointer or in this machine's cache; in the
        cache or in a folder that only this user can write to, a private mapping, no copy.
        """
        with about(pointer) as pointer, Operation("load") as operation:
            operation.pointer = pointer
            resolved, serializer = self._authorize(pointer, context)
            operation.expect(pointer.type_name, pointer.size_bytes)
            buffer = self._checked_bytes(resolved, full=False)
            content = buffer.toreadonly() if view else buffer
            trusted = self.policy.allows_code(pointer)
            return decode(serializer, content, trusted=trusted, max_bytes=self.policy.max_bytes)

    def save_many(
        self,
        objects: Iterable[Any],
        *,
        max_concurrency: int = DEFAULT_CONCURRENCY,
        **options: Unpack[SaveOptions],
    ) -> list[Pointer]:
        """Store each of `objects` and return their signed pointers in the same order.

        Parameters
        ----------
        objects : iterable
            Taken one by one, in the calling thread, as capacity allows: a generator may create
            them when they are needed.
        max_concurrency : int
            How many are saved at the same time, each in a thread.
        **options
            ``prefix``, ``compression``, ``context`` and ``expires``, as for `save`, and the same for all.

        Raises
        ------
        BatchError
            Some could not be saved. All were tried; ``done`` holds the pointers of those that
            were saved and ``failed`` the errors of the others, both by position.
        ConfigError
            An argument is not valid. Nothing was saved.

        Notes
        -----
        Cost: that of `save` for each object; only those that are being saved are held in memory.

        An interrupt (Ctrl-C), or an error that `objects` itself raises, stops the batch: what is being
        saved is completed, and the error has an attribute ``done`` with the pointers so far, by
        position. Many small objects that are needed together are better saved as one list.
        """
        return self._save_batch(options, max_concurrency).run(objects)

    def load_many(
        self,
        pointers: Iterable[Pointer | Any],
        *,
        view: bool = False,
        context: str | None = None,
        max_concurrency: int = DEFAULT_CONCURRENCY,
    ) -> list[Any]:
        """Return independent copies of the objects that `pointers` name, in the same order.

        Parameters
        ----------
        pointers : iterable
            Each as for `load`. Taken one by one, in the calling thread, at most 256 ahead.
        view : bool
            Read-only arrays instead of writable ones.
        context : str, optional
            What all pointers must have been saved for.
        max_concurrency : int
            How many are loaded at the same time, each in a thread.

        Raises
        ------
        BatchError
            Some could not be loaded. All were tried; ``done`` holds the objects that were loaded
            and ``failed`` the errors of the others, both by position.
        ConfigError
            `max_concurrency` is not a positive whole number. Nothing was fetched.

        Notes
        -----
        Cost: that of `load` for each object. An interrupt stops the batch as in `save_many`.
        """
        return self._load_batch(view=view, context=context, max_concurrency=max_concurrency).run(pointers)

    def read(self, pointer: Pointer | Any, *, full: bool = True, context: str | None = None) -> memoryview:
        """Return the checked bytes of the object without decoding them.

        Parameters
        ----------
        pointer : Pointer, Payload, str, bytes or mapping
            Its signature and the policy's roots and sizes are checked first.
        full : bool
            Whether data that only this user can have changed is checked too, and the bytes come
            from the store itself even if they are in the cache.
        context : str, optional
            What the pointer must have been saved for.

        Errors are those of `load`, except for `DecodeError`.
        """
        with about(pointer) as pointer:
            resolved = self._authorizer.resolve(pointer, context=context, decoding=True)
            return self._checked_bytes(resolved, full=full)

    def exists(self, pointer: Pointer | Any) -> bool:
        """Return whether the object of `pointer` is in the store. One request; no content is fetched."""
        try:
            self.info(pointer)
        except NotFoundError:
            return False
        return True

    def info(self, pointer: Pointer | Any) -> ObjectInfo:
        """Return what the store reports about the object: size and time. One request."""
        with about(pointer) as pointer:
            resolved = self._authorizer.resolve(pointer)
            if resolved.is_inline:
                return ObjectInfo("", resolved.size_bytes, resolved.created_s)
            return self._store_at(resolved.root).info(resolved.key)

    def delete(self, pointer: Pointer | Any) -> None:
        """Remove the object of `pointer` from the store and the cache, if it exists. The pointer must be signed."""
        with about(pointer) as pointer:
            self._authorizer.verify(pointer)
            resolved = self._authorizer.resolve(pointer)
            if not resolved.is_inline:
                self._store_at(resolved.root).delete(resolved.key)
                if (cache := self._cache_for(resolved.root)) is not None:
                    cache.evict(resolved.size_bytes, resolved.digest)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects stored under `root`, ordered by key; with a `prefix` (see `save`), only those with it.

        The keys of objects that expire begin with their lifetime, so the store lists all of these, whatever the prefix.
        """
        if not prefix:
            return self.store.list()
        escaped = f"{escape_prefix(prefix)}/"
        expiring = (info for info in self.store.list(EXPIRING) if info.key.partition("/")[2].startswith(escaped))
        return heapq.merge(self.store.list(escaped), expiring, key=lambda info: info.key)

    def check(self, pointer: Pointer | Any, *, context: str | None = None) -> None:
        """Raise the error with which `load` would refuse `pointer` before any request.

        Raises
        ------
        PointerError, SignatureError, PolicyError, DecodeError
            `load` would refuse it. No request was sent.
        """
        with about(pointer) as pointer:
            self._authorize(pointer, context)

    def verify(self, pointer: Pointer | Any) -> None:
        """Raise `SignatureError` if the signature of `pointer` is wrong, missing, or by an unknown key. No request."""
        self._authorizer.verify(as_pointer(pointer))

    def _save_batch(self, options: SaveOptions, max_concurrency: int) -> Batch:
        for name in options.keys() - SaveOptions.__annotations__:
            raise TypeError(f"save_many() got an unexpected keyword argument {name!r}")
        self._check_options(**options)
        return Batch(partial(self.save, **options), "saved", max_concurrency)

    def _check_options(
        self,
        prefix: str | None = None,
        compression: Compression | None = None,
        context: str | None = None,
        expires: int | str | datetime.timedelta | None = None,
    ) -> tuple[str | None, Settings]:
        """Return the escaped prefix and the settings for one save, or raise the error that `save` documents."""
        escaped = escape_prefix(prefix) if prefix is not None else None
        if context is not None:
            check_context(context)
        if compression is None and expires is None:
            return escaped, self.settings
        return escaped, self.settings.merged(compression=compression, expires=expires)

    def _load_batch(self, *, view: bool, context: str | None, max_concurrency: int) -> Batch:
        load = partial(self.load, view=view, context=context)
        return Batch(load, "loaded", max_concurrency, ahead=_AHEAD)

    def _authorize(self, pointer: Pointer, context: str | None) -> tuple[Pointer, Serializer]:
        # The policy comes before the look-up of the serializer, which may import a plug-in.
        resolved = self._authorizer.resolve(pointer, context=context, decoding=True)
        serializer = self.serializers.by_id(pointer.serializer)
        self.policy.check(resolved, executable=serializer.executable)
        return resolved, serializer

    def _checked_bytes(self, resolved: Pointer, *, full: bool) -> memoryview:
        if resolved.data is not None:
            return memoryview(bytearray(resolved.data))
        store, data = self._store_at(resolved.root), full or self.settings.verify == "full"
        cache = self._cache_for(resolved.root)
        # A full check is about the stored object, not about a cached copy.
        if cache is not None and not full:
            copy = cache.read(store, resolved.key, resolved.size_bytes, resolved.digest, data=data)
            if copy is not None:
                return copy

        def fetch() -> memoryview:
            fetched = store.get(resolved.key, resolved.size_bytes)
            check(fetched.buffer, resolved.digest, data=data or not fetched.owner_only)
            return fetched.buffer

        return fetch_intact(resolved.root, fetch)

    def _store_at(self, root: str) -> Store:
        """Return this process's store at `root`, or raise `ConfigError`. No request."""
        return self._stores[os.getpid()].get(root, partial(self._open_store, root))

    def _open_store(self, root: str) -> Store:
        mine = self.settings
        # The storage options are for roots of the same scheme as the configured one.
        options = Options(mine.storage_options if scheme_of(root) == scheme_of(mine.url) else {})
        return open_store(root, options, fsync=mine.fsync, transport=mine.transport, timeout_s=mine.timeout)

    def _cache_for(self, root: str) -> Cache | None:
        return open_cache(root, folder=self.settings.cache, max_bytes=self.settings.cache_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without keys and credentials, which the process that unpickles it provides.
        return _unpickled, (self.settings.public(), self._arguments)

    def __deepcopy__(self, memo: object = None) -> Repository:
        return self

    __copy__ = __deepcopy__

    def __repr__(self) -> str:
        return f"Repository({self.root!r})"

    def _repr_html_(self) -> str:
        return table("Repository", {"url": self.root, "pickle": self.policy.pickle, "unsigned": self.policy.unsigned})


def _unpickled(public: dict[str, Any], arguments: dict[str, Any]) -> Repository:
    """Return a repository with the `public` settings of another process, and the keys and credentials of this one."""
    return Repository(**config.current().received(public), **arguments)


_repositories: dict[str, Repository] = {}
_last: tuple[Settings, Repository] | None = None


def default_repository() -> Repository:
    """Return the repository of the settings in force.

    Examples
    --------
    >>> import payloadfs
    >>> with payloadfs.using("memory://demo"):
    ...     default_repository().root
    'memory://demo'
    """
    global _last
    settings = config.current()
    if _last is not None and _last[0] is settings:
        return _last[1]
    fingerprint = settings.fingerprint()
    repository = _repositories.get(fingerprint)
    if repository is None:
        if len(_repositories) >= _MAX_REPOSITORIES:
            _repositories.clear()
        repository = _repositories.setdefault(fingerprint, Repository())
    _last = settings, repository
    return repository


def chosen_repository(repository: Repository | None) -> Repository:
    """Return `repository`, by default the one of the settings in force. Raise `ConfigError` if it is something else."""
    check_argument("repository", repository, Repository)
    return repository or default_repository()
