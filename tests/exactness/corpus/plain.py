"""Python's own objects: values, containers, classes, functions, recursive and shared structures."""

import argparse
import collections
import datetime as dt
import decimal
import fractions
import functools
import io
import logging
import operator
import pathlib
import random
import re
import types
import uuid
import zoneinfo

import numpy as np
import pandas as pd
from payloadfs_corpus_classes import (
    Careful,
    Colour,
    Failure,
    Kept,
    Level,
    Names,
    Node,
    Pair,
    Permission,
    Plain,
    Rejected,
    Rows,
    Slim,
    SlimText,
    Slotted,
    Text,
    Trouble,
    Unopened,
    Whole,
    WithReduce,
    WithState,
    Word,
    add,
)

NAN = float("nan")


def values():
    return {
        "none": None, "true": True, "zero": 0, "huge": 10**4000, "very huge": 10**5000, "negative": -(2**64), "float": 0.1, "nan": NAN, "negative nan": -NAN, "negative zero": -0.0, "infinity": float("inf"), "complex": complex(NAN, -0.0),
        "text": "ü\U0001f600\0", "empty text": "", "surrogate": "\ud800", "long text": "x" * 300_000, "bytes": bytes(range(256)), "no bytes": b"", "long bytes": bytes(300_000), "bytearray": bytearray(b"abc"), "range": range(1, 10, 3), "slice": slice(1, None, 2), "ellipsis": ..., "not implemented": NotImplemented,
        "decimal": decimal.Decimal("1.10"), "decimal nan": decimal.Decimal("sNaN12"), "fraction": fractions.Fraction(1, 3), "date": dt.date(2020, 1, 1), "time": dt.time(1, 2, fold=1), "datetime": dt.datetime(2020, 10, 25, 2, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Zurich"), fold=1), "timedelta": dt.timedelta(-1, 5, 7), "timezone": dt.timezone(dt.timedelta(hours=1), "X"),
        "utc": dt.UTC, "zone": zoneinfo.ZoneInfo("Europe/Zurich"), "uuid": uuid.UUID(int=5), "safe uuid": uuid.UUID(int=5, is_safe=uuid.SafeUUID.safe), "path": pathlib.PurePosixPath("/a/../b"), "windows path": pathlib.PureWindowsPath("c:/a"), "pattern": re.compile("a+", re.I), "bytes pattern": re.compile(b"a+"),
        "enum": Colour.RED, "int enum": Level.HIGH, "text enum": Word.A, "flag": Permission.READ | Permission.WRITE, "no flag": Permission(0), "text subclass": Text("x"), "slim text": SlimText("x"), "int subclass": Whole(3), "bool in int": [True, 1, 1.0],
        "type": int, "own class": Node, "exception": ValueError("x", 1), "own exception": Trouble("x", 3), "exception with a cause": caused(ValueError("x"), KeyError(1)), "own exception with a cause": caused(Trouble("x", 3), OSError(2, "a", "f")), "exception with other arguments": Failure("load", 3), "exception by keyword": Rejected(reason="x"), "such exceptions with a cause": caused(Failure("load", 3), Rejected(reason="x")), "file error": Unopened(2, "a"), "group": ExceptionGroup("g", [Failure("load", 3), KeyError(1)]), "unicode error": UnicodeDecodeError("utf-8", b"x", 0, 1, "r"), "exit": SystemExit(3), "stop": StopIteration([1]), "missing name": NameError("m", name="n"), "syntax error": SyntaxError("m", ("f", 1, 2, "t")),
        "float with a unit": Kept(1.5, "m"), "careful": Careful(), "function": add, "builtin": len, "method of builtin": "abc".upper, "method descriptor": str.upper, "module": types, "operator": operator.itemgetter(1, "a"), "attribute getter": operator.attrgetter("a.b"), "method caller": operator.methodcaller("m", 1, k=2),
        "generic alias": list[int], "union type": int | None, "simple namespace": types.SimpleNamespace(a=1, b=[2]), "namespace": argparse.Namespace(a=1), "logger": logging.getLogger("payloadfs.corpus"), "random": random.Random(3), "string buffer": io.StringIO("a\nb"), "bytes buffer": io.BytesIO(b"ab"),
    }  # fmt: skip


def caused(error, cause):
    error.__cause__ = cause
    return error


def moved(buffer, place):
    buffer.seek(place)
    return buffer


def containers():
    shared, frame, array = [1], pd.DataFrame({"a": [1.5, 2]}), np.arange(3000.0)
    return {
        "list": [1, "a", None, [2.5]], "tuple": (1, (2, ("a",))), "empty tuple": (), "dict": {"b": 1, "a": {"c": []}}, "odd keys": {1: "a", None: "b", (1, 2): "c", 1.5: "d", b"x": "e", Colour.RED: "f"}, "true and one": {"a": True, "b": 1, "c": 1.0}, "nan in a list": [NAN, 1.5], "tuple in a list": [(1, 2)],
        "set": {1, "a", (2,)}, "frozenset": frozenset([1, 2]), "set of frozensets": {frozenset([1]), frozenset()}, "deque": collections.deque([1, 2], maxlen=3), "default dict": collections.defaultdict(list, a=[1]), "ordered dict": collections.OrderedDict([("b", 1), ("a", 2)]), "counter": collections.Counter("aab"), "chain map": collections.ChainMap({"a": 1}, {"b": 2}),
        "user dict": collections.UserDict(a=1), "named tuple": Pair(1, [2]), "dict subclass": Names(a=1), "list subclass": Rows([1, 2]), "dataclass": Node("a", [Node("b")]), "slim dataclass": Slim(1, [2]), "slots": Slotted([1]), "state": WithState([1]), "reduce": WithReduce(1, [2]), "attributes": Plain(a=1, _b=[2], c=Plain()),
        "10,000 ints": list(range(10_000)), "20,000 ints": list(range(20_000)), "deep": functools.reduce(lambda inner, _: [inner], range(200), []), "many dicts": [{"id": n, "name": f"n{n}"} for n in range(3000)], "arrays": {"small": np.arange(3), "large": array, "view": array[::2], "scalar": np.float32(1.5)},
        "frames": {"a": frame, "b": [frame.T, frame["a"]]}, "a frame twice": [frame, frame], "an array twice": {"a": array, "b": array}, "array and frame": [array, pd.DataFrame({"a": array})], "frame in a tuple": (frame, 1), "frame in an object": Plain(frame=frame, array=array), "moved text buffer": moved(io.StringIO("abc"), 2), "moved bytes buffer": moved(io.BytesIO(b"abc"), 1),
        "shared": {"a": shared, "b": [shared]}, "shared deeply": [Plain(part=shared), {"x": (shared,)}], "shared twice each": [shared, [shared], shared],
    }  # fmt: skip


def recursive():
    a_list, a_dict, node, left, right = [1], {"a": 1}, Node("n"), Plain(), Plain()
    a_list.append(a_list)
    a_dict["me"] = a_dict
    node.children.append(node)
    left.other, right.other = right, left
    a_tuple = ([],)
    a_tuple[0].append(a_tuple)
    cells = {"parent": {"children": []}}
    cells["parent"]["children"].append(cells)
    return {
        "list": a_list,
        "dict": a_dict,
        "node": node,
        "pair": left,
        "tuple": a_tuple,
        "tree": cells,
        "bound to itself": [left.method],
    }


def by_value():
    """What no reader can import, so its code is stored."""

    class Local:
        limit = 3

        def __init__(self, value):
            self.value = value

        def double(self):
            return self.value * 2

    counter, factor = [0], 3

    def scale(x, *, by=factor, _seen=counter):
        return x * by * counter[0]

    def recurse(n):
        return recurse(n - 1) if n else factor

    def outer():
        return scale

    return {
        "lambda": lambda x: x + 1, "closure": (lambda n: lambda x: x + n)(3), "defaults": scale, "recursive function": recurse, "nested function": outer, "instance": Local([1]), "method": Local(2).double, "partial": functools.partial(scale, 2, by=5), "partial of builtin": functools.partial(int, base=2),
        "function and its cell": [scale, counter], "comprehension": lambda xs: [x * factor for x in xs], "async": eval("(lambda: None)"), "cached": functools.partial(add, 1),
    }  # fmt: skip


def cases():
    parts = {"value": values(), "container": containers(), "recursive": recursive(), "by value": by_value()}
    return {f"{part} {name}": obj for part, found in parts.items() for name, obj in found.items()}
