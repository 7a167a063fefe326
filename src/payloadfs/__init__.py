"""payloadfs: any Python object as a small, signed JSON pointer.

>>> import payloadfs
>>> with payloadfs.using("memory://demo"):
...     text = payloadfs.Payload([1, 2, 3]).to_json()
...     payloadfs.Payload.from_json(text).value
[1, 2, 3]
"""

import typing

from ._packing import pack, unpack
from .config import Settings, configure, using
from .errors import (
    BatchError,
    ConfigError,
    DecodeError,
    EncodeError,
    ExpiredError,
    IntegrityError,
    NotFoundError,
    PayloadError,
    PointerError,
    PolicyError,
    SerializerError,
    SignatureError,
    StoreError,
    UnknownKeyError,
    WorkError,
)
from .payload import Payload, json_default, load, load_many, save, save_many
from .pointer import Pointer
from .policy import Policy
from .repository import Repository, default_repository
from .serializers import SerializerRegistry, default_serializers, register_class
from .signing import Key, KeyRing

if typing.TYPE_CHECKING:
    from . import aio as aio
    from . import works as works

__version__ = "0.1.0"

register_serializer = default_serializers.register

__all__ = [
    "BatchError",
    "ConfigError",
    "DecodeError",
    "EncodeError",
    "ExpiredError",
    "IntegrityError",
    "Key",
    "KeyRing",
    "NotFoundError",
    "Payload",
    "PayloadError",
    "Pointer",
    "PointerError",
    "Policy",
    "PolicyError",
    "Repository",
    "SerializerError",
    "SerializerRegistry",
    "Settings",
    "SignatureError",
    "StoreError",
    "UnknownKeyError",
    "WorkError",
    "__version__",
    "configure",
    "default_repository",
    "json_default",
    "load",
    "load_many",
    "pack",
    "register_class",
    "register_serializer",
    "save",
    "save_many",
    "unpack",
    "using",
]

# Pickles and tracebacks name the package, so that modules can move.
for _name in __all__:
    _value = globals().get(_name)
    if isinstance(_value, type) and "__annotations__" in vars(_value):
        # Once the class names another module, its annotations could not be resolved any more.
        _value.__annotations__ = typing.get_type_hints(_value)
    if hasattr(_value, "__module__") and _name != "register_serializer":
        _value.__module__ = __name__
del default_serializers


def __getattr__(name: str) -> typing.Any:
    # Loaded on first use: both import more than a small save needs.
    if name in ("aio", "works"):
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
