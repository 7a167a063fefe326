"""Conversion of objects to bytes and back: the `Serializer` protocol, the registry, one file per family of types."""

from ._base import Encoded as Encoded
from ._base import NotExactError as NotExactError
from ._base import Serializer as Serializer
from ._metadata import read_metadata as read_metadata
from ._registry import SerializerRegistry as SerializerRegistry
from ._registry import decode as decode
from ._tree.register import register_class as register_class
from ._tree.vocabulary import Codec as Codec
from ._tree.vocabulary import add_codec as add_codec

__all__ = [
    "Codec",
    "Encoded",
    "NotExactError",
    "Serializer",
    "SerializerRegistry",
    "add_codec",
    "decode",
    "default_serializers",
    "read_metadata",
    "register_class",
]

default_serializers = SerializerRegistry()
"""The registry that repositories use by default; `payloadfs.register_serializer` adds to it."""
