"""Subclasses of built-in and library classes as users write them, with attributes, constructors and methods of their own."""

import collections
import copyreg
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import pathlib
import random
import sys
import types
import typing
import uuid

import numpy as np


def noting(base, *, slots=False):
    """Return a subclass of `base` whose objects can have attributes, or one with a slot."""
    body = {"__slots__": ("note",)} if slots else {}
    return type(f"{'Slot' if slots else 'Noted'}{base.__name__}", (base,), {"__module__": __name__, **body})


BASES = {
    "datetime": (dt.datetime, (2020, 10, 25, 2, 30, 0, 7, dt.UTC)),
    "date": (dt.date, (2020, 1, 2)),
    "time": (dt.time, (1, 2, 3, 4)),
    "timedelta": (dt.timedelta, (1, 2, 3)),
    "tzinfo": (dt.tzinfo, ()),
    "Decimal": (decimal.Decimal, ("1.10",)),
    "Fraction": (fractions.Fraction, (1, 3)),
    "Counter": (collections.Counter, ("aab",)),
    "defaultdict": (collections.defaultdict, (list, {"a": [1]})),
    "OrderedDict": (collections.OrderedDict, ({"b": 1, "a": 2},)),
    "deque": (collections.deque, ([1, 2], 3)),
    "dict": (dict, ({"a": 1},)),
    "list": (list, ([1, [2]],)),
    "set": (set, ({1, 2},)),
    "frozenset": (frozenset, ({1, 2},)),
    "bytearray": (bytearray, (b"ab",)),
    "str": (str, ("x",)),
    "bytes": (bytes, (b"x",)),
    "int": (int, (3,)),
    "float": (float, (-0.0,)),
    "complex": (complex, (1, -0.0)),
    "tuple": (tuple, ((1, [2]),)),
    "UUID": (uuid.UUID, ("12345678123456781234567812345678",)),
    "PosixPath": (pathlib.PosixPath, ("/a/b",)),
    "PureWindowsPath": (pathlib.PureWindowsPath, ("c:/a",)),
    "IPv4Address": (ipaddress.IPv4Address, ("10.0.0.1",)),
    "IPv4Network": (ipaddress.IPv4Network, ("10.0.0.0/8",)),
    "Random": (random.Random, (3,)),
    "StringIO": (io.StringIO, ("abc",)),
    "BytesIO": (io.BytesIO, (b"abc",)),
    "SimpleNamespace": (types.SimpleNamespace, ()),
    "partial": (functools.partial, (int,)),
    "UserDict": (collections.UserDict, ({"a": 1},)),
    "ChainMap": (collections.ChainMap, ({"a": 1},)),
    "Exception": (Exception, ("x", 1)),
    "OSError": (OSError, (2, "no", "f")),
    "ImportError": (ImportError, ("x",)),
    "ndarray": (np.ndarray, ((2, 3), "i4")),
    "MaskedArray": (np.ma.MaskedArray, ([1.5, 2], [True, False])),
}
# Bases with a variable size have no slots.
NO_SLOTS = {"timedelta", "bytes", "int", "tuple", "MaskedArray"}
NOTED = {name: noting(base) for name, (base, _) in BASES.items()}
SLOTTED = {name: noting(base, slots=True) for name, (base, _) in BASES.items() if name not in NO_SLOTS}
globals().update({cls.__name__: cls for cls in (*NOTED.values(), *SLOTTED.values())})


class Celsius(float):
    def __new__(cls, fahrenheit):
        return super().__new__(cls, (fahrenheit - 32) / 1.8)


class Tag(str):
    def __new__(cls, text, kind="k"):
        obj = super().__new__(cls, f"<{text}>")
        obj.kind = kind
        return obj


class Symbol(str):
    known: typing.ClassVar = {}

    def __new__(cls, text):
        return cls.known.setdefault(text, super().__new__(cls, text))


class Even(int):
    def __new__(cls, value, *, strict):
        if strict and value % 2:
            raise ValueError(value)
        return super().__new__(cls, value)


class Vector(tuple):
    def __new__(cls, *parts):
        return super().__new__(cls, parts)


class Swapped(typing.NamedTuple("Base", [("a", int), ("b", int)])):
    def __new__(cls, a, b):
        return super().__new__(cls, b, a)


class Moment(dt.datetime):
    def __new__(cls, text):
        return super().__new__(cls, *map(int, text.split("-")))


class Day(dt.date):
    def __new__(cls, year, week=1):
        return super().__new__(cls, year, 1, week)


class Span(dt.timedelta):
    def __new__(cls, hours):
        return super().__new__(cls, hours=hours)


class Money(decimal.Decimal):
    def __new__(cls, value, currency="EUR"):
        obj = super().__new__(cls, value)
        obj.currency = currency
        return obj

    def __str__(self):
        return f"{super().__str__()} {self.currency}"


class Share(fractions.Fraction):
    def __new__(cls, n, d, label):
        obj = super().__new__(cls, n, d)
        obj.label = label
        return obj

    def __str__(self):
        return f"share {super().__str__()}"


class Titled(ipaddress.IPv6Interface):
    def __str__(self):
        return "10::1/64"


class Single(type):
    def __call__(cls, *args, **kwargs):
        raise RuntimeError("only once")


SINGLE = {
    name: Single(f"Single{name}", (BASES[name][0],), {"__module__": __name__})
    for name in ("frozenset", "deque", "bytearray", "OrderedDict", "date", "Decimal", "PosixPath", "IPv4Network", "partial", "Exception", "SimpleNamespace", "Random")
}  # fmt: skip
globals().update({cls.__name__: cls for cls in SINGLE.values()})


def hiding(base):
    """Return a subclass of `base` with a slot, and a subclass of that with a property in its place."""
    below = type(f"Below{base.__name__}", (base,), {"__module__": __name__, "__slots__": ("note",)})
    above = type(f"Hiding{base.__name__}", (below,), {"__module__": __name__, "note": property(lambda _: "hidden")})
    return below, above


HIDING = {base: hiding(base) for base in (object, dict, list, str, Exception, frozenset)}
globals().update({cls.__name__: cls for pair in HIDING.values() for cls in pair})


class Exported:
    """The state that this class hands over is all that it has."""

    def __getstate__(self):
        return dict(vars(self))


Exported.__module__ = "other_package.module"
sys.modules["other_package.module"] = types.ModuleType("other_package.module")
sys.modules["other_package"] = types.ModuleType("other_package")
sys.modules["other_package.module"].Exported = Exported


class WithSlot(Exported):
    __slots__ = ("note",)


class Words(collections.Counter):
    def __init__(self, name="n", items=()):
        super().__init__(items)
        self.name = name


class Groups(collections.defaultdict):
    def __init__(self, *args, **kwargs):
        super().__init__(list, *args, **kwargs)


class Labelled(set):
    def __init__(self, name="", items=()):
        super().__init__(items)
        self.name = name


class Fixed(frozenset):
    def __new__(cls, name="", items=()):
        obj = super().__new__(cls, items)
        obj.name = name
        return obj


class Field(bytearray):
    def __init__(self, width=8, data=b""):
        super().__init__(data)
        self.width = width


class Audited(dict):
    def __setitem__(self, key, value):
        super().__setitem__(key, [value, "audited"])


class Headers(dict):
    def __init__(self):
        super().__init__()
        self.names = {}

    def __setitem__(self, key, value):
        self.names[key.lower()] = key
        super().__setitem__(key, value)

    def __getitem__(self, key):
        return super().__getitem__(self.names[key.lower()])


class Bunch(dict):
    def __init__(self, **items):
        super().__init__(**items)
        self.__dict__ = self


class LoudBunch(Bunch):
    def __setitem__(self, key, value):
        super().__setitem__(key, [value])


class Sorted(dict):
    def items(self):
        return sorted(super().items())

    def __iter__(self):
        return iter(sorted(super().keys()))


class Logged(list):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def append(self, item):
        super().append((self.seen, item))
        self.seen += 1

    def extend(self, items):
        for item in items:
            self.append(item)


class Reversed(list):
    def __iter__(self):
        return reversed(list(super().__iter__()))


class Window(collections.deque):
    def __init__(self, size):
        super().__init__(maxlen=size)
        self.total = 0

    def append(self, item):
        self.total += item
        super().append(item)


class Config(collections.OrderedDict):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def __setitem__(self, key, value):
        super().__setitem__(key, f"{self.path}/{value}")


class Unique(set):
    def add(self, item):
        raise TypeError("frozen")

    update = __ior__ = add


class Root(pathlib.PosixPath):
    def __new__(cls, host, path):
        obj = super().__new__(cls, path)
        obj.host = host
        return obj

    def __init__(self, host, path):
        if sys.version_info >= (3, 12):
            super().__init__(path)


class NoState:
    __setstate__ = None


class Frozen:
    __slots__ = ("a",)

    def __init__(self, a):
        object.__setattr__(self, "a", a)

    def __setattr__(self, name, value):
        raise AttributeError("frozen")


class Wrapper:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Named(collections.namedtuple("Named", "x y")):  # noqa: PYI024
    def __getattr__(self, name):
        raise AttributeError(name)


class Stateless:
    def __getattr__(self, name):
        return getattr(self, name + "x")


def with_connection(function):
    @functools.wraps(function)
    def wrapper(cls, *args):
        return function(cls, "conn", *args)

    return wrapper


class Decorated:
    @with_connection
    def __new__(cls, conn):
        obj = object.__new__(cls)
        obj.conn = conn
        return obj


class Unit(enum.Enum):
    METRE = (1, "m")
    FOOT = (0.3048, "ft")

    def __new__(cls, factor, label):
        obj = object.__new__(cls)
        obj._value_ = label
        obj.factor = factor
        return obj


class Missing(enum.Enum):
    NAN = float("nan")
    LIST = [1]


class Batch(ExceptionGroup):
    def __new__(cls, errors, message="failed"):
        return super().__new__(cls, message, errors)

    def __init__(self, errors, message="failed"):
        self.count = len(errors)


class HTTPError(OSError):
    def __init__(self, url, code):
        super().__init__(code, f"failed: {url}")
        self.url = url


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class Registered(Exception):
    def __init__(self, message, handle=None):
        super().__init__(message)
        self.handle = handle


def remake(message):
    return Registered(message, handle="remade")


copyreg.pickle(Registered, lambda error: (remake, error.args))


class Key:
    """Hash and equality depend on attributes."""

    def __init__(self, name):
        self.name = name

    def __hash__(self):
        return hash(self.name)

    def __eq__(self, other):
        return self.name == other.name


class Base:
    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return type(self), (self.value,)


class Derived(Base):
    def __init__(self, value, *, unit):
        super().__init__(value)
        self.unit = unit


class Generator(np.random.Generator):
    pass


@dataclasses.dataclass(frozen=True, slots=True)
class SlimBase:
    a: int


class SlimSub(SlimBase):
    pass
