"""Objects that cannot be stored exactly: a function that creates each, and a pattern for the error."""

import asyncio
import contextvars
import ctypes
import importlib
import io
import itertools
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import weakref
import zoneinfo

import numpy as np
import pandas as pd
import polars as pl
from payloadfs_corpus_classes import Forgetful, Measured, Plain


def generator():
    yield from ()


def running():
    async def nothing():
        return None

    return nothing()


def keyless_zone():
    header = b"TZif" + b"\0" * 16 + b"\0\0\0\0" * 3 + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\0\0\4"
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(header + b"\0\0\0\0\0\0" + b"UTC\0"))


def zone_from_file(key="Company/Office"):
    """Return a zone that has a name, but whose data came from a file."""
    header = b"TZif" + b"\0" * 16 + b"\0\0\0\0" * 3 + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\0\0\4"
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(header + b"\0\0\0\0\0\0" + b"UTC\0"), key=key)


def noted(obj):
    object.__setattr__(obj, "note", "x")
    return obj


def with_alpha():
    image = importlib.import_module("PIL.Image").new("P", (2, 2))
    image.putpalette([0, 0, 0, 9] * 2, "RGBA")
    return image


def opened():
    """Return a dataset that reads its values lazily."""
    xarray = importlib.import_module("xarray")
    with tempfile.TemporaryDirectory() as folder:
        xarray.Dataset({"t": ("x", [1.5])}).to_netcdf(f"{folder}/a.nc", engine="scipy")
        return xarray.open_dataset(f"{folder}/a.nc", engine="scipy")


def several_frames():
    images = importlib.import_module("PIL.Image")
    file, frames = io.BytesIO(), [images.new("L", (2, 2), shade) for shade in (0, 99)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return images.open(file)


def marked(obj):
    obj.note = "x"
    return obj


def attributed(frame, value):
    frame.attrs["k"] = value
    return frame


class Locked:
    def __init__(self):
        self.model = {"lock": threading.Lock()}


REFUSED = {
    "generator": (generator, "generator"),
    "lock": (threading.Lock, "lock"),
    "deep lock": (Locked, r"obj\.model\['lock'\]"),
    "thread": (lambda: {"t": threading.Thread()}, r"obj\['t'\]"),
    "event": (threading.Event, "lock"),
    "socket": (lambda: [socket.socket()], r"obj\[0\] \(socket.socket\)"),
    "open text": (lambda: [open(__file__)], r"obj\[0\] \(_io.TextIOWrapper\)"),  # noqa: SIM115
    "open bytes": (lambda: {"f": open(__file__, "rb")}, r"obj\['f'\]"),  # noqa: SIM115
    "temporary file": (tempfile.TemporaryFile, "BufferedRandom"),
    "standard output": (lambda: {"out": io.TextIOWrapper(io.BytesIO())}, r"obj\['out'\]"),
    "memoryview": (lambda: Plain(m=memoryview(b"x")), r"obj\.m \(memoryview\)"),
    "coroutine": (running, "coroutine"),
    "future": (lambda: {"f": asyncio.new_event_loop()}, r"obj\['f'\]"),
    "context": (contextvars.copy_context, "Context"),
    "context variable": (lambda: contextvars.ContextVar("x"), "ContextVar"),
    "weak reference": (lambda: weakref.ref(Plain), "ReferenceType"),
    "weak dict": (lambda: weakref.WeakValueDictionary(a=Plain), "WeakValueDictionary"),
    "proxy": (lambda: {"p": weakref.proxy(Plain)}, "weakref"),
    "database": (lambda: {"db": sqlite3.connect(":memory:")}, r"obj\['db'\] \(sqlite3.Connection\)"),
    "process": (lambda: subprocess.Popen([sys.executable, "-c", ""]), "lock"),
    "library": (lambda: ctypes.CDLL(None), "CDLL"),
    "pointer": (lambda: ctypes.pointer(ctypes.c_int(1)), "pointers"),
    "frame of the stack": (sys._getframe, "frame"),
    "lambda over a lock": ((lambda lock: lambda: lambda: lock)(threading.Lock()), "captured lock"),
    "endless": (lambda: [itertools.tee(generator())[0]], r"obj\[0\]"),
    "zone without a key": (keyless_zone, "ZoneInfo"),
    "frame with such a zone": (lambda: pd.DataFrame({"t": pd.to_datetime(["2020"]).tz_localize(keyless_zone())}), "ZoneInfo"),
    "series that forgets its name": (lambda: Forgetful([1, 2], name="x"), "_name"),
    "attribute of a frame": (lambda: noted(pd.DataFrame({"a": [1]})), "'note'.*attrs"),
    "attribute of a series": (lambda: [noted(pd.Series([1]))], r"obj\[0\].*'note'"),
    "attribute of an index": (lambda: noted(pd.Index([1])), "'note'"),
    "attribute of a frame's index": (lambda: pd.DataFrame({"a": [1]}, index=noted(pd.Index([1]))), r"obj.index.*'note'"),
    "palette with alpha": (with_alpha, "palette"),
    "polars objects": (lambda: pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}), "'o'.*Object"),
    "polars object series": (lambda: pl.Series("o", [object()], dtype=pl.Object), "'o'.*Object"),
    "polars objects in a list": (lambda: [pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)})], "'o'.*Object"),
    "polars arrays of width 0": (lambda: pl.DataFrame({"a": pl.Series([[[]]], dtype=pl.List(pl.Array(pl.Int8, 0)))}), "'a'.*width 0"),
    "polars plan over arrays of width 0": (lambda: [pl.DataFrame({"a": pl.Series([[[]]], dtype=pl.List(pl.Array(pl.Int8, 0)))}).lazy()], r"obj\[0\].*read back"),
    "polars series in a list": (lambda: [pl.Series([[]], dtype=pl.Array(pl.Int8, 0))], r"^obj\[0\] .*width 0"),
    "attribute of a polars frame": (lambda: marked(pl.DataFrame({"a": [1]})), "'note'"),
    "attribute of a polars series": (lambda: {"s": marked(pl.Series([1]))}, r"obj\['s'\].*'note'"),
    "data in a file": (opened, "load"),
    "image with frames": (several_frames, "frames"),
    "array whose own reduction changes the byte order": (lambda: [Measured(np.zeros(2, ">f8"))], r"^obj\[0\] .*byte order"),
    "cell": (lambda: pd.DataFrame({"a": [1, generator()]}), r"obj\['a'\]\[1\] \(generator\)"),
    "cell beside good columns": (lambda: pd.DataFrame({"g": [1.5, 2], "a": [1, generator()]}), r"obj\['a'\]\[1\] \(generator\)"),
    "cell of a series": (lambda: pd.Series([1, generator()]), r"obj\[1\] \(generator\)"),
    "label": (lambda: pd.DataFrame([[1]], columns=[generator()]), r"obj\.columns\[0\]"),
    "attrs": (lambda: attributed(pd.DataFrame({"a": [1]}), generator()), r"obj\.attrs\['k'\] \(generator\)"),
    "cell of an array": (lambda: np.array([1, generator()], dtype=object), r"obj.ravel\(\)\[1\] \(generator\)"),
    "frame in a list": (lambda: [pd.DataFrame({"a": [generator()]})], r"obj\[0\]\['a'\]\[0\] \(generator\)"),
}  # fmt: skip
