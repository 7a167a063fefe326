"""Objects of subclasses: with attributes, slots, and constructors and methods of their own."""

import datetime as dt

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


def cases():
    return attributes() | values() | containers()
