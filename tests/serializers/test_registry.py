"""Choice of the serializer: exact class, base classes, predicate, entry points, and pickle last."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pandas as pd
import pytest

from payloadfs import ConfigError, DecodeError, Repository, SerializerRegistry
from payloadfs._buffers import as_bytes
from payloadfs.serializers import Encoded, NotExactError, _registry


class Shape:
    def __init__(self, sides):
        self.sides = sides

    def __eq__(self, other):
        return type(self) is type(other) and self.sides == other.sides

    __hash__ = None


class Square(Shape):
    pass


class ShapeSerializer:
    executable = False

    def __init__(self, id_="shape/1", only=None):
        self.id = id_
        self.only = only

    def encode(self, obj):
        if self.only and type(obj) is not self.only:
            raise NotExactError
        return Encoded([as_bytes(f"{type(obj).__name__} {obj.sides}".encode())], extension="shape")

    def decode(self, buffer, *, trusted):
        name, sides = str(buffer, "ascii").split()
        return {"Shape": Shape, "Square": Square}[name](int(sides))


@pytest.fixture
def no_entry_points(monkeypatch):
    monkeypatch.setattr(_registry, "_entry_points", dict)


def chosen(registry, obj):
    return registry.encode(obj)[0].id


def test_order(no_entry_points):
    registry = SerializerRegistry()
    assert chosen(registry, Square(4)) == "pickle/1"
    registry.register(ShapeSerializer("any/1"), predicate=lambda obj: isinstance(obj, Shape))
    assert chosen(registry, Square(4)) == "any/1"
    registry.register(ShapeSerializer("newer/1"), predicate=lambda obj: isinstance(obj, Shape))
    assert chosen(registry, Square(4)) == "newer/1"
    registry.register(ShapeSerializer("base/1"), Shape)
    assert chosen(registry, Square(4)) == "base/1"
    registry.register(ShapeSerializer("exact/1", only=Square), Square)
    assert chosen(registry, Square(4)) == "exact/1"
    assert chosen(registry, Shape(3)) == "base/1"
    registry.register(ShapeSerializer("picky/1", only=Shape), Square)
    assert chosen(registry, Square(4)) == "exact/1"  # the newest declined
    assert chosen(registry, {"a": 1}) == "json/1"


def test_copy_is_independent(no_entry_points):
    registry = SerializerRegistry()
    twin = registry.copy()
    twin.register(ShapeSerializer(), Shape)
    assert chosen(twin, Shape(3)) == "shape/1"
    assert chosen(registry, Shape(3)) == "pickle/1"


@pytest.mark.parametrize("id_", ["json/1", "Shape/1", "shape", "shape/0", "os.system/1"])
def test_invalid_ids_are_refused(id_):
    with pytest.raises(ConfigError):
        SerializerRegistry().register(ShapeSerializer(id_), Shape)


def test_ids_are_unique():
    registry = SerializerRegistry()
    registry.register(ShapeSerializer(), Shape)
    with pytest.raises(ConfigError, match="taken"):
        registry.register(ShapeSerializer(), Square)


def test_entry_points_are_loaded_lazily(monkeypatch):
    loads = []

    class Entry(EntryPoint):
        def load(self):
            loads.append(self.name)
            return ShapeSerializer

    name = f"{__name__.partition('.')[0]}.Shape"
    entries = {name: Entry(name, "some:thing", "payloadfs.serializers")}
    monkeypatch.setattr(_registry, "_entry_points", lambda: entries)
    repository = Repository("memory://entry-points", serializers=SerializerRegistry())
    repository.load(repository.save([1]))
    assert loads == []
    pointer = repository.save(Square(4))
    assert (pointer.serializer, loads) == ("shape/1", [name])
    assert Repository("memory://entry-points", serializers=SerializerRegistry()).load(pointer) == Square(4)
    monkeypatch.setattr(_registry, "_entry_points", dict)
    with pytest.raises(DecodeError, match="install the package") as caught:
        Repository("memory://entry-points", serializers=SerializerRegistry()).load(pointer)
    assert caught.value.kind == "unknown-serializer"


WITHOUT_PYARROW = """
import sys

class Unfit:
    def find_spec(self, name, path, target=None):
        if name == "pyarrow":
            raise {error}

sys.meta_path.insert(0, Unfit())
import pandas as pd
import payloadfs
with payloadfs.using(sys.argv[1]):
    for attempt in (lambda: payloadfs.save(pd.DataFrame({{"a": [1]}})), lambda: payloadfs.load(sys.argv[2])):
        try:
            attempt()
        except payloadfs.ConfigError as error:
            print(error.kind, error)
"""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("ModuleNotFoundError('No module', name='pyarrow')", "needs the package pyarrow, which is not installed"),
        ("ImportError('pyarrow requires NumPy 2.0 or newer')", "that it needs: pyarrow requires NumPy 2.0"),
    ],
    ids=["missing", "incompatible"],
)
def test_packages_that_cannot_be_imported_are_named(tmp_path, error, message):
    pointer = Repository(tmp_path).save(pd.DataFrame({"a": [1]}))
    command = [sys.executable, "-c", WITHOUT_PYARROW.format(error=error), str(tmp_path), pointer.to_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("missing-package") and message in line for line in lines)


@pytest.mark.parametrize("serializer_id", _registry._BUILT_IN)
def test_built_in_serializers_are_what_the_table_says(serializer_id):
    """The policy decides by the table, before the serializer itself is imported."""
    listed, actual = _registry.built_in(serializer_id), _registry._import(serializer_id)
    assert (listed.id, listed.executable) == (actual.id, actual.executable)
