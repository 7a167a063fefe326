"""payloadfs: any Python object as a small, signed JSON pointer.

>>> import payloadfs
>>> with payloadfs.using("memory://demo"):
...     text = payloadfs.Payload([1, 2, 3]).to_json()
...     payloadfs.Payload.from_json(text).value
[1, 2, 3]
"""

from .config import Settings as Settings
from .config import configure as configure
from .config import using as using
from .default import default_repository as default_repository
from .errors import BatchError as BatchError
from .errors import ConfigError as ConfigError
from .errors import DecodeError as DecodeError
from .errors import EncodeError as EncodeError
from .errors import IntegrityError as IntegrityError
from .errors import NotFoundError as NotFoundError
from .errors import PayloadError as PayloadError
from .errors import PointerError as PointerError
from .errors import PolicyError as PolicyError
from .errors import SerializerError as SerializerError
from .errors import SignatureError as SignatureError
from .errors import StoreError as StoreError
from .errors import UnknownKeyError as UnknownKeyError
from .errors import WorkError as WorkError
from .payload import Payload as Payload
from .payload import json_default as json_default
from .pointer import Pointer as Pointer
from .policy import Policy as Policy
from .repository import Repository as Repository
from .serializers import SerializerRegistry as SerializerRegistry
from .serializers import default_serializers as _default_serializers
from .signing import Key as Key
from .signing import KeyRing as KeyRing

__version__ = "0.1.0"

register_serializer = _default_serializers.register

__all__ = [
    "BatchError",
    "ConfigError",
    "DecodeError",
    "EncodeError",
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
    "register_serializer",
    "using",
]
