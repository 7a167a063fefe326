"""Objects of subclasses: with attributes, slots, and constructors and methods of their own."""

import datetime as dt
import json

import payloadfs_corpus_subclasses as kinds
from payloadfs_corpus_classes import Endless, Length, Point, Tagged
from payloadfs_corpus_subclasses import BASES, NOTED, SLOTTED, Key


def build(cls, args):
    if issubclass(cls, kinds.np.ma.MaskedArray):
        return kinds.np.ma.array(args[0], mask=args[1]).view(cls)
    obj = cls(*args)
    if isinstance(obj, kinds.np.ndarray):
        obj[...] = 7
    return obj


def noted(obj, note):
    object.__setattr__(obj, "note", note)
    return obj


def attributes():
    found = {}
    for name, cls in NOTED.items():
        args = BASES[name][1]
        shared = [name]
        found |= {
            f"{name} with attribute": noted(build(cls, args), "x"),
            f"{name} with mutable attribute": noted(build(cls, args), {"a": [1]}),
            f"{name} without": build(cls, args),
            f"{name} shared": [noted(build(cls, args), shared), shared],
            f"{name} in a cycle": cyclic(build(cls, args)),
        }
    for name, cls in SLOTTED.items():
        args = BASES[name][1]
        found[f"{name} with slot"] = noted(build(cls, args), [1])
        found[f"{name} with empty slot"] = build(cls, args)
    return found


def cyclic(obj):
    # The set of a frozen base cannot contain itself, but its attributes can lead back to it.
    holder = [obj]
    return noted(obj, {"holder": holder})


def filled(obj, *items):
    for item in items:
        obj.append(item)
    return obj


def updated(obj, **items):
    for name, value in items.items():
        obj[name] = value
    return obj


def values():
    folded = kinds.NOTED["datetime"](2020, 10, 25, 2, 30, fold=1)
    return {
        "converting float": kinds.Celsius(212), "tag": kinds.Tag("a", "b"), "symbol": kinds.Symbol("a"), "even": kinds.Even(4, strict=True), "vector": kinds.Vector(1, 2), "swapped": kinds.Swapped(1, 2), "moment": kinds.Moment("2020-1-2"), "day": kinds.Day(2020, 3), "span": kinds.Span(5), "money": kinds.Money("1.10", "CHF"), "share": kinds.Share(1, 3, "l"), "folded": folded, "noted folded": noted(kinds.NOTED["datetime"](2020, 10, 25, 2, 30, fold=1, tzinfo=dt.UTC), "x"), "root": kinds.Root("h", "/a"),
        "vector with a list": [kinds.Vector(1, [2]), kinds.Vector()], "frozen slots": kinds.Frozen([1]), "wrapper": kinds.Wrapper([1]), "wrapper of a wrapper": kinds.Wrapper(kinds.Wrapper({"a": 1})), "named with getattr": kinds.Named(1, 2), "stateless": kinds.Stateless(), "decorated": kinds.Decorated(), "enum with new": kinds.Unit.FOOT, "enum with nan": kinds.Missing.NAN, "enum with a list": [kinds.Missing.LIST, kinds.Missing.LIST],
        "length": Length(1.5, "m"), "point": Point(1, 2), "endless": [Endless()], "group with new": kinds.Batch([ValueError(1)]), "error with other arguments": kinds.HTTPError("u", 404), "frozen error": kinds.FrozenError(3), "slim subclass": noted(kinds.SlimSub(1), "x"), "slim": kinds.SlimSub(1),
    }  # fmt: skip


def containers():
    headers, looped = updated(kinds.Headers(), Content=1), kinds.Audited()
    dict.__setitem__(looped, "self", looped)
    keyed = kinds.Audited()
    key = Key("k")
    keyed[key] = 1
    inside = kinds.Logged()
    list.append(inside, inside)
    moved = kinds.Config("p")
    moved["a"], moved["b"] = 1, 2
    moved.move_to_end("a")
    group = kinds.Groups({"a": [1]})
    list_in_set = kinds.Unique()
    set.update(list_in_set, [1, 2])
    return {
        "words": kinds.Words("words", "aab"), "tagged": Tagged([1], "x"), "groups": group, "labelled": kinds.Labelled("t", [1, 2]), "fixed": kinds.Fixed("t", [1, 2]), "field": kinds.Field(4, b"ab"), "audited": updated(kinds.Audited(), k=1), "headers": headers, "bunch": kinds.Bunch(a=1, b=[2]), "bunch twice": [kinds.Bunch(), kinds.Bunch(a={})], "loud bunch": kinds.LoudBunch(a=1), "sorted": kinds.Sorted(b=1, a=2), "logged": filled(kinds.Logged(), "x", "y"), "reversed": kinds.Reversed([1, 2]), "window": filled(kinds.Window(2), 1, 2, 3), "config": moved, "unique": list_in_set, "audited itself": looped, "logged itself": inside, "audited key": keyed,
    }  # fmt: skip


def created(cls, *args):
    """Return an object of `cls` without a call of `cls`."""
    native = next(base for base in cls.__mro__ if base.__module__ not in (kinds.__name__, "other_package.module"))
    obj = native.__new__(cls, *args)
    if native.__init__ is not object.__init__:
        native.__init__(obj, *args)
    return obj


def noted_slot(cls, below):
    obj = created(cls)
    below.note.__set__(obj, [1])
    return obj


def constructed():
    """Objects whose class or metaclass would get in the way of the reduction that they inherit."""
    found = {
        f"metaclass that calls, {name}": noted(created(cls, *BASES[name][1]), [1]) for name, cls in kinds.SINGLE.items()
    }
    found |= {
        f"hidden slot, {base.__name__}": noted_slot(above, below) for base, (below, above) in kinds.HIDING.items()
    }
    return found | {
        "address with its own str": kinds.Titled("1::1/64"), "slot below a state": noted(kinds.WithSlot(), [1]),
        "partial with a slot and an attribute": noted(type(kinds.SLOTTED["partial"](int))(int), [1]),
    }  # fmt: skip


def set_later(error, **members):
    for name, value in members.items():
        setattr(error, name, value)
    return error


def errors():
    """Exceptions whose members in C differ from their arguments."""
    undecodable = UnicodeDecodeError("utf8", b"ab", 0, 1, "r")
    noted_json = json.JSONDecodeError("m", "d", 1)
    noted_json.add_note("n")
    found = {
        "NameError": NameError("x", name="foo"), "AttributeError": AttributeError("x", name="foo"), "ImportError": set_later(ImportError("x", name="a", path="b"), msg="c"),
        "SyntaxError": set_later(SyntaxError("m", ("f", 1, 2, "t", 3, 4)), lineno=9, text=None), "StopIteration": set_later(StopIteration(1), value=[2]), "SystemExit": set_later(SystemExit(1), code="x"),
        "OSError": set_later(OSError(2, "no", "f"), errno=5, filename2="g"), "UnicodeDecodeError": set_later(undecodable, start=1, end=2, reason="s"), "BlockingIOError": BlockingIOError(11, "x", 5),
        "JSONDecodeError with a note": noted_json, "args that it would not accept": set_later(UnicodeDecodeError("utf8", b"a", 0, 1, "r"), args=("x",)), "group with other args": set_later(ExceptionGroup("m", [ValueError(1)]), args=()),
    }  # fmt: skip
    return {f"members of {name}": error for name, error in found.items()}


def cases():
    return attributes() | values() | containers() | constructed() | errors()
