"""Classes of the corpus that a reader can import, as users' own classes can be."""

import dataclasses
import enum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(str, enum.Enum):  # noqa: UP042
    A = "a"


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


class Text(str):
    pass


class SlimText(str):
    __slots__ = ()


class Whole(int):
    pass


class Names(dict):
    pass


class Rows(list):
    pass


class Pair(NamedTuple):
    left: Any
    right: Any = None


@dataclasses.dataclass
class Node:
    name: str
    children: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Slim:
    x: int
    y: Any = None


class Slotted:
    __slots__ = ("_hidden", "a")

    def __init__(self, a):
        self.a = a
        self._hidden = [a]


class WithState:
    def __init__(self, value):
        self.value = value
        self.lock = None

    def __getstate__(self):
        return {"value": self.value}

    def __setstate__(self, state):
        self.value = state["value"]
        self.lock = None


class WithReduce:
    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return WithReduce, self.parts


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def method(self):
        return self


class Trouble(Exception):
    def __init__(self, message, code):
        super().__init__(message, code)
        self.code = code


class Failure(Exception):
    """Its `args` are not what it takes, as of most exceptions that people write."""

    def __init__(self, step, code):
        super().__init__(f"{step} failed with {code}")
        self.step = step
        self.code = code


class Rejected(ValueError):
    def __init__(self, *, reason):
        super().__init__(reason)


class Unopened(OSError):
    def __init__(self, number, text):
        super().__init__(number, text)
        self.tries = 3


class Length(float):
    def __new__(cls, value, unit):
        made = super().__new__(cls, value)
        made.unit = unit
        return made


class Point(tuple):
    __slots__ = ()

    def __new__(cls, x, y):
        return super().__new__(cls, (x, y))


class Kept(Length):
    """What `Length` should be."""

    def __getnewargs__(self):
        return float(self), self.unit


class Tagged(set):
    def __init__(self, values, tag):
        super().__init__(values)
        self.tag = tag


class Endless:
    """Asked for anything, it asks itself for what it does not have yet."""

    def __init__(self):
        self.fields = {"a": 1}

    def __getattr__(self, name):
        return self.fields[name]


class Careful(Endless):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return super().__getattr__(name)


class Measured(np.ndarray):
    """An array with an attribute, written as in numpy's documentation."""

    def __new__(cls, data, unit=None):
        made = np.asarray(data).view(cls)
        made.unit = unit
        return made

    def __array_finalize__(self, other):
        self.unit = getattr(other, "unit", None)

    def __reduce__(self):
        function, arguments, state = super().__reduce__()
        return function, arguments, (*state, self.unit)

    def __setstate__(self, state):
        super().__setstate__(state[:-1])
        self.unit = state[-1]


class Table(pd.DataFrame):
    _metadata = ["source"]

    @property
    def _constructor(self):
        return Table


class Bare(pd.DataFrame):
    @property
    def _constructor(self):
        return Bare


class Column(pd.Series):
    _metadata = ["_name", "unit"]

    @property
    def _constructor(self):
        return Column


class Forgetful(pd.Series):
    _metadata = ["unit"]

    @property
    def _constructor(self):
        return Forgetful


class Celsius(pa.ExtensionType):
    """An extension type of Arrow that a reader has to import, but need not register."""

    def __init__(self):
        super().__init__(pa.float64(), "payloadfs.corpus.celsius")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def add(a, b):
    """A function that a reader can import."""
    return a + b
