"""A program whose classes and functions exist nowhere else. Run as ``__main__``, it saves them by value.

Each case has an object and an expression that is evaluated in the process that loads it as `x`.
"""

import abc
import collections.abc
import dataclasses
import datetime
import enum
import functools
import json
import sys
import typing

import msgspec


class Planet(enum.Enum):
    EARTH = (5.97e24, 6.4e6)
    MARS = (6.4e23, 3.4e6)

    def __init__(self, mass, radius):
        self.mass = mass
        self.radius = radius

    @property
    def density(self):
        return self.mass / self.radius


class Coord(bytes, enum.Enum):
    PX = (0, "P.X")
    PY = (1, "P.Y")

    def __new__(cls, value, label):
        obj = bytes.__new__(cls, [value])
        obj._value_ = value
        obj.label = label
        return obj


class Counted(enum.Enum):
    A = ()
    B = ()  # noqa: PIE796

    def __new__(cls):
        obj = object.__new__(cls)
        obj._value_ = len(cls.__members__) + 1
        return obj


class Perm(enum.IntFlag):
    R = 4
    W = 2
    RW = 6
    ALL = 15


class Color(enum.Flag):
    RED = enum.auto()
    BLUE = enum.auto()
    PURPLE = RED | BLUE


class Alias(enum.Enum):
    ONE = 1
    UNO = 1  # noqa: PIE796
    TWO = [2]


class Word(str, enum.Enum):  # noqa: UP042
    A = "a"

    def upper2(self):
        return self.value.upper() * 2


class Call(enum.Enum):
    INT = enum.member(functools.partial(int, base=2))

    @enum.nonmember
    class Inner:
        x = 1


class Str(enum.StrEnum):
    LOW = enum.auto()


class Private:
    __slots__ = ("__a", "b")

    def __init__(self):
        self.__a = 1

    def get(self):
        return self.__a


class Slots:
    __slots__ = ("x",)


class SubSlots(Slots):
    __slots__ = {"y": "documented"}


@dataclasses.dataclass(slots=True, frozen=True)
class SlimData:
    a: int
    b: list = dataclasses.field(default_factory=list)


class DictSlots:
    __slots__ = ("__dict__", "x")


class IterSlots:
    __slots__ = iter(["p", "q"])


@functools.lru_cache(maxsize=7, typed=True)
def slow(n):
    return n + 1


@functools.cache
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def calls_slow():
    return slow(1) + fib(20)


class Cached:
    @functools.lru_cache  # noqa: B019
    def method(self):
        return 5

    @functools.cached_property
    def prop(self):
        return [1]


def shared():
    count = 0

    def add():
        nonlocal count
        count += 1
        return count

    def get():
        return count

    return add, get


def even_odd():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    return even, odd


class Parent:
    limit = 5
    tags = ["a"]
    runs = []

    def __init_subclass__(cls, key, **kwargs):
        super().__init_subclass__(**kwargs)
        Parent.runs.append(key)
        cls.key = key


class Child(Parent, key="k"):
    limit = 5
    tags = Parent.tags


class Needs:
    def __init_subclass__(cls):
        cls.needed = cls.required


class Has(Needs):
    required = 3


class Registering(type):
    classes = []

    def __new__(meta, name, bases, namespace, *, tag="t"):
        cls = super().__new__(meta, name, bases, namespace)
        cls.tag = tag
        meta.classes.append(name)
        return cls


class Registered(metaclass=Registering, tag="z"):
    pass


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape):
    def area(self):
        return super().__doc__ or 4


@Shape.register
class Foreign:
    pass


T = typing.TypeVar("T")


Number = typing.TypeVar("Number", int, float)
Later = typing.TypeVar("Later", bound="Box", covariant=True)
Arguments = typing.ParamSpec("Arguments")


def double(x: Number) -> Number:
    return 2 * x


if sys.version_info >= (3, 12):
    exec("def first[Item: (str, bytes)](x: list[Item]) -> Item: return x[0]\nclass Tagged[Tag]: pass")
if sys.version_info >= (3, 13):
    Defaulted = typing.TypeVar("Defaulted", default=int)


class Box(typing.Generic[T]):
    content: T

    def __init__(self, content):
        self.content = content


class Pair(typing.NamedTuple):
    a: int
    b: int = 2


class Named(str):
    def __new__(cls, text, size):
        obj = super().__new__(cls, text.upper())
        obj.size = size
        return obj


class Audited(dict):
    def __setitem__(self, key, value):
        super().__setitem__(key, [value, "audited"])


class Stateful:
    count = 0


class Proto(typing.Protocol):
    def run(self) -> int: ...


class Failure(Exception):
    __slots__ = ("step",)

    def __new__(cls, step):
        return super().__new__(cls, f"in {step}")

    def __init__(self, step):
        super().__init__(f"in {step}")
        self.step = step


class Typed(typing.TypedDict):
    a: int


def audited():
    obj = Audited()
    obj["k"] = 1
    return obj


class Sentinel:
    def __reduce__(self):
        return "MISSING"


MISSING = Sentinel()
MISSING.__module__ = __name__


class ByName:
    def __reduce_ex__(self, protocol):
        return "NAMED"


NAMED = ByName()
Struct = msgspec.defstruct("Struct", [("a", int)])


class Model(msgspec.Struct):
    b: int


this = sys.modules["__main__"]

REFUSED = {
    "sentinel": MISSING,
    "sentinel in a list": [MISSING, lambda: 1],
    "default of a function": lambda x=MISSING: x,
    "object by name": {"a": NAMED},
    "sentinel in an attribute of a class": type("Holder", (), {"x": MISSING}),
    "struct made at run time": Struct(1),
    "struct": [Model(2)],
    "struct class": Model,
    "parameters by name": Arguments,
    "module of the program": sys.modules["__main__"],
    "function that uses the module of the program": lambda: sys.modules["__main__"] or this,
}

LIMIT = 5


def uses_global_in_class():
    class Inner:
        limit = LIMIT

    return Inner.limit


class Describing(type):
    title = property(lambda cls: cls.__name__.lower())
    kept = property(lambda cls: 1, lambda cls, value: None)


class Described(metaclass=Describing):
    title = property(lambda self: "of an object")
    kept = 7


class SlotMixin:
    __slots__ = ("mass",)


class Weighed(SlotMixin, enum.Enum):
    LIGHT = 1
    HEAVY = 100

    def __init__(self, grams):
        self.mass = [grams]


class Inverted(enum.Flag):
    A = 1
    B = 2
    C = 4


~Inverted.A  # noqa: B018  it is cached


class Proxy:
    __name__ = "a proxy"
    __class__ = property(lambda self: int)
    __dict__ = property(lambda self: {"a": 1})


class NoDict:
    __slots__ = ()


class Mixed(NoDict, type("Plain", (), {"__module__": "__main__"})):
    pass


class GenericMixed(Mixed, typing.Generic[typing.TypeVar("V")]):
    pass


class Notified(Mixed):
    count = 0

    def __init_subclass__(cls):
        Notified.count += 1


class Subscribed(type("Below", (Notified,), {"__module__": "__main__"}), typing.Generic[typing.TypeVar("V")]):
    pass


class OwnGroup(ExceptionGroup):
    def __new__(cls, message, errors, extra=None):
        obj = super().__new__(cls, message, errors)
        obj.extra = extra
        return obj


class Zone(datetime.tzinfo, typing.Generic[T]):
    def __init__(self, hours=3):
        self.hours = hours

    def utcoffset(self, when):
        return datetime.timedelta(hours=self.hours)


class NotifiedZone(datetime.tzinfo, Notified):
    pass


@dataclasses.dataclass(frozen=True)
class Unit:
    name: str

    def factor(self):
        return FACTORS[self]


FACTORS = {Unit("km"): 1000}
Unit.metric = {Unit("m"), Unit("g")}


@dataclasses.dataclass(frozen=True, slots=True)
class SlimUnit:
    name: str
    known: typing.ClassVar[dict] = {}
    parts: set = dataclasses.field(default_factory=set, compare=False)


SlimUnit.default = SlimUnit("m")
SlimUnit.known[SlimUnit("g")] = 1
SlimUnit.default.parts.add(SlimUnit.default)


class Restored:
    def __getstate__(self):
        return {"stored": 1}

    def __setstate__(self, state):
        self.restored = state["stored"]


Restored.first = Restored()
Restored.first.restored = 1


class Doubling:
    step = 2

    def __init__(self, number):
        self.number = number * self.step

    def __reduce__(self):
        return Doubling, (self.number // 2,)

    def next(self):
        return FOUR


FOUR = Doubling(4)


class Access(enum.Flag):
    R = 1
    W = 2

    def is_default(self):
        return self in DEFAULT


DEFAULT = Access.R | Access.W


class Turn(enum.Enum):
    LEFT = 1
    RIGHT = 2


Turn.LEFT.other, Turn.RIGHT.other = Turn.RIGHT, Turn.LEFT
Turn.degrees = {Turn.LEFT: 90}


class Single:
    instance = None

    def __new__(cls):
        if cls.instance is None:
            cls.instance = super().__new__(cls)
        return cls.instance


class Rows:
    pass


collections.abc.Sequence.register(Rows)


class EqualByName(type):
    def __eq__(cls, other):
        return cls.__name__ == getattr(other, "__name__", "")

    def __hash__(cls):
        return hash(cls.__name__)


REFUSED["classes that compare equal"] = [EqualByName("Twin", (), {"__module__": "__main__", "n": n}) for n in (1, 2)]

CASES = {
    "generic time zone": (datetime.datetime(2026, 1, 1, tzinfo=Zone(2)), "x.utcoffset().seconds == 7200 and type(x.tzinfo).__parameters__"),
    "init subclass of a second base": ([NotifiedZone, Notified], "x[1].count == 3 and x[0].__bases__[1] is x[1]"),
    "objects of a class in its attributes": (Unit, "x('m') in x.metric and x('km').factor() == 1000"),
    "objects of a class in a global of it": (FACTORS, "x[type([*x][0])('km')] == 1000"),
    "slotted object in an attribute of its class": (SlimUnit, "x.default == x('m') and x.known[x('g')] == 1 and x.default in x.default.parts"),
    "object with a setstate in an attribute of its class": (Restored, "vars(x.first) == {'restored': 1}"),
    "object that its class creates in a global": (Doubling(5), "x.number == 10 and x.next().number == 8"),
    "combined flag in a global of the flag": (Access.R, "x.is_default()"),
    "members of an enum that refer to each other": (Turn.LEFT, "x.other.other is x and type(x).degrees[x] == 90"),
    "singleton in an attribute of its class": ([Single(), Single], "x[0] is x[1]() and x[1].instance is x[0]"),
    "class registered with an abstract class": (Rows(), "isinstance(x, __import__('collections').abc.Sequence)"),
    "globals in the body of a class": (uses_global_in_class, "x() == 5"),
    "descriptors of a metaclass": (Described, "x.title == 'described' and x().title == 'of an object' and vars(x)['kept'] == 7"),
    "enum with slots of a mixin": (Weighed.HEAVY, "x.mass == [100] and type(x).LIGHT.mass == [1]"),
    "flag with a cached inverse": ([Inverted.A, Inverted.A | Inverted.B], "(~x[0]).value == 6 and x[1].value == 3"),
    "names that type has": (Proxy, "vars(x)['__name__'] == 'a proxy' and x().__dict__ == {'a': 1} and x().__class__ is int and x.__name__ == 'Proxy'"),
    "generic class with two layouts": (GenericMixed(), "type(x).__bases__[0].__name__ == 'Mixed' and x.__dict__ == {}"),
    "init subclass of a base with a dict": ([Subscribed, Notified], "x[1].count == 3 and x[0].__mro__[2] is x[1]"),
    "exception group with other arguments": (OwnGroup("m", [ValueError(1)], [3]), "x.message == 'm' and x.extra == [3] and len(x.args) == 3 and x.exceptions[0].args == (1,)"),
    "enum with init": (Planet.EARTH, "x.mass == 5.97e24 and type(x).MARS.radius == 3.4e6 and type(x)((6.4e23, 3.4e6)).name == 'MARS' and x.density > 1"),
    "enum with init, class": (Planet, "list(x.__members__) == ['EARTH', 'MARS'] and x['EARTH'] is x.EARTH and x.EARTH in x"),
    "enum with new": (Coord.PY, "x == b'\\x01' and x.value == 1 and x.label == 'P.Y' and type(x)(0).label == 'P.X'"),
    "enum that counts": ([Counted.B, Counted], "x[0].value == 2 and x[1](2) is x[0] and len(x[1]) == 2"),
    "int flag": (Perm.RW, "x == 6 and x.name == 'RW' and (type(x).R | type(x).W) is x and type(x).ALL.value == 15"),
    "int flag combined": ([Perm.R | Perm(8), Perm(1)], "x[0] == 12 and x[1] == 1 and type(x[0]).__name__ == 'Perm'"),
    "flag combined": (Color.RED | Color.BLUE, "x is type(x).PURPLE and x.value == 3 and [m.name for m in x] == ['RED', 'BLUE']"),
    "no flag": (Color(0), "x.value == 0 and not x and (~x).value == 3"),
    "alias": ([Alias.UNO, Alias.ONE, Alias.TWO], "x[0] is x[1] and x[0].name == 'ONE' and type(x[0])['UNO'] is x[0] and x[2].value == [2] and type(x[0])([2]) is x[2]"),
    "string enum": (Word.A, "x == 'a' and x.upper2() == 'AA' and isinstance(x, str)"),
    "enum of functions": (Call.INT, "x.value('11') == 3 and type(x).Inner.x == 1 and len(type(x)) == 1"),
    "str enum": (Str.LOW, "str(x) == 'low' and x == 'low' and f'{x}' == 'low'"),
    "enum in class attribute": ({Planet.EARTH: 1}, "[*x][0].name == 'EARTH' and x[type([*x][0]).EARTH] == 1"),
    "private slot": (Private(), "x.get() == 1 and not hasattr(x, '__dict__')"),
    "slots": (Slots(), "not hasattr(x, '__dict__') and 'x' in vars(type(x)) and type(x).__slots__ == ('x',)"),
    "slots of a subclass": (SubSlots(), "not hasattr(x, '__dict__') and type(x).__slots__ == {'y': 'documented'} and hasattr(type(x), 'x')"),
    "slots dataclass": (SlimData(1, [2]), "x.a == 1 and x.b == [2] and not hasattr(x, '__dict__') and type(x)(1).b == [] and x == type(x)(1, [2])"),
    "dict in slots": (DictSlots(), "vars(x) == {} and 'x' in vars(type(x))"),
    "slots from an iterator": (IterSlots, "not hasattr(x(), '__dict__') and hasattr(x, 'q')"),
    "lru cache": (slow, "x(2) == 3 and x.cache_parameters() == {'maxsize': 7, 'typed': True} and x.__name__ == 'slow'"),
    "cache": (fib, "x(30) == 832040 and x.cache_info().currsize == 31"),
    "function that calls a cached one": (calls_slow, "x() == 6767"),
    "cached method": (Cached(), "x.method() == 5 and x.prop is x.prop and x.prop == [1]"),
    "cached in a list": ([slow, slow], "x[0] is x[1]"),
    "shared cell": (shared(), "x[0]() == 1 and x[1]() == 1 and x[0]() == 2 and x[1]() == 2"),
    "shared cell in a dict": (dict(enumerate(shared())), "x[0]() == x[1]() == 1"),
    "mutual recursion": (even_odd(), "x[0](10) and x[1](7) and not x[1](8)"),
    "cell of a method": (Square(), "x.area() and type(x).__mro__[1].__name__ == 'Shape'"),
    "closure over None": ((lambda n: lambda: n)(None), "x() is None"),
    "attribute that equals its parent's": (Child(), "'limit' in vars(type(x)) and 'tags' in vars(type(x)) and type(x).tags is type(x).__mro__[1].tags"),
    "init subclass": (Child, "x.key == 'k' and x.__mro__[1].runs == ['k']"),
    "init subclass that needs attributes": (Has, "x.needed == 3"),
    "metaclass": (Registered(), "type(x).tag == 'z' and type(type(x)).classes == ['Registered']"),
    "abstract": ([Square(), Shape, Foreign()], "isinstance(x[0], x[1]) and isinstance(x[2], x[1]) and x[1].__abstractmethods__ == {'area'}"),
    "generic": ([Box(1), Box[int]], "x[0].content == 1 and x[1].__origin__ is type(x[0]) and type(x[0]).__parameters__"),
    "named tuple": (Pair(1), "x == (1, 2) and x.b == 2 and x._fields == ('a', 'b') and x._replace(a=5).a == 5"),
    "protocol": (Proto, "x._is_protocol"),
    "typed dict": (Typed, "x.__annotations__ == {'a': int} and x(a=1) == {'a': 1}"),
    "string with new": (Named("abc", 7), "x == 'ABC' and x.size == 7"),
    "dict with setitem": (audited(), "x == {'k': [1, 'audited']}"),
    "exception": (Failure("load"), "x.args == ('in load',) and x.step == 'load'"),
    "dataclass": (SlimData, "__import__('dataclasses').fields(x)[0].default is __import__('dataclasses').MISSING"),
    "class": (Stateful, "x.count == 0"),
    "type variable": (T, "x.__module__ == '__main__' and repr(x) == '~T' and x.__constraints__ == () and x.__bound__ is None"),
    "type variable with a bound": (Later, "repr(x) == '+Later' and x.__bound__.__forward_arg__ == 'Box' and x.__covariant__"),
    "type variable of a function": ([double, Number], "x[1].__constraints__ == (int, float) and set(x[0].__annotations__.values()) == {x[1]}"),
    "type variable of a class": (Box, "x.__parameters__[0].__module__ == '__main__' and x.__orig_bases__[0].__args__ == x.__parameters__"),
}  # fmt: skip
if sys.version_info >= (3, 12):
    CASES |= {
        "type parameters of a function": (first, "(t := x.__type_params__[0]).__constraints__ == (str, bytes) and t.__infer_variance__ and x.__annotations__['return'] is t"),  # noqa: F821
        "type parameters of a class": (Tagged, "x.__type_params__ == x.__parameters__ and x.__type_params__[0].__infer_variance__"),  # noqa: F821
    }  # fmt: skip
if sys.version_info >= (3, 13):
    CASES |= {"default of a type variable": ([Defaulted, T], "x[0].__default__ is int and not x[1].has_default()")}


def main(root):
    from payloadfs import EncodeError, Repository

    repository = Repository(root, fsync=False)
    pointers = {}
    for name, (obj, check) in CASES.items():
        try:
            pointers[name] = [repository.save(obj).to_json(), check]
        except Exception as error:  # noqa: BLE001
            pointers[name] = [None, f"{type(error).__name__}: {error}"]
    for name, obj in REFUSED.items():
        message = "it was saved"
        try:
            repository.save(obj)
        except EncodeError as error:
            message = str(error)
        assert "move it to a module" in message, (name, message)
    # Loading leaves the classes of the running program as they are.
    pointer = repository.save([Stateful(), Planet.EARTH, Child()])
    method, Stateful.count = Planet.density.fget, 5
    for _ in range(2):
        loaded = repository.load(pointer)
        assert type(loaded[0]) is Stateful
        assert loaded[1] is Planet.EARTH
        assert Stateful.count == 5
        assert Planet.density.fget is method
        assert Parent.runs == ["k"]
    print(json.dumps(pointers))


if __name__ == "__main__":
    main(sys.argv[1])
