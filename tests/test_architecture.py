"""Promises about the code itself: what is loaded when, what is public, how large files and functions are."""

import ast
import datetime as dt
import pathlib
import pickle
import subprocess
import sys
import typing

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import payloadfs

SOURCE = pathlib.Path(payloadfs.__file__).parent
HEAVY = {"pandas", "numpy", "pyarrow", "polars", "fsspec", "s3fs", "cloudpickle", "asyncio", "blake3"}


def loaded_after(code, text=""):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    assert not loaded_after("import payloadfs") & HEAVY


def test_plain_values_in_a_folder_need_nothing_heavy(tmp_path):
    code = f"import payloadfs; r = payloadfs.Repository({str(tmp_path / 'o')!r}); assert r.load(r.save([1])) == [1]"
    assert loaded_after(code) & HEAVY == {"blake3"}


def test_arrays_in_a_folder_need_no_fsspec(tmp_path):
    code = (
        f"import payloadfs, numpy; r = payloadfs.Repository({str(tmp_path / 'o')!r}); r.load(r.save(numpy.arange(3)))"
    )
    assert not loaded_after(code) & {"fsspec", "s3fs", "pandas", "pyarrow", "cloudpickle"}


def test_the_front_door_lists_what_it_shows():
    visible = {name for name in vars(payloadfs) if not name.startswith("_")}
    modules = {name for name in visible if isinstance(getattr(payloadfs, name), type(sys))}
    assert visible - modules == set(payloadfs.__all__) - {"__version__"}
    assert payloadfs.__all__ == sorted(payloadfs.__all__)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_keep_to_their_budget(path):
    text = path.read_text()
    assert text.count("\n") <= 500
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - docstring.count("\n")
            assert lines <= 60, f"{node.name} has {lines} lines"


def test_the_core_keeps_to_its_budget():
    files = [
        path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in {"testing", "works", "cli"}
    ]
    assert sum(path.read_text().count("\n") for path in files) <= 18_750


def test_stores_contain_no_network_code():
    for path in (SOURCE / "stores").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {"http", "socket", "selectors", "socketserver", "ssl", "urllib3"} & {
                n.partition(".")[0] for n in names
            }


def packages_crossed(call):
    """Return the modules and packages directly below payloadfs whose functions `call` runs."""
    crossed = set()

    def profile(frame, event, _):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("payloadfs."):
            crossed.add(name.split(".")[1])

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return crossed


@pytest.mark.parametrize("kind", ["frame", "list"])
def test_one_object_crosses_at_most_twelve_packages_each_way(tmp_path, kind):
    obj = pd.DataFrame({"a": np.arange(100_000.0), "b": ["x"] * 100_000}) if kind == "frame" else [1, 2]
    repository = payloadfs.Repository(tmp_path / "objects")
    repository.load(repository.save(obj))  # what runs only once is not counted
    payload = payloadfs.Payload(obj, repository=repository)
    assert len(packages_crossed(payload.save)) <= 12
    assert len(packages_crossed(lambda: payload.value)) <= 12


def test_pickles_name_the_package_only():
    for name in payloadfs.__all__:
        value = getattr(payloadfs, name)
        assert getattr(value, "__module__", "payloadfs") == "payloadfs" or name == "register_serializer", name
        if isinstance(value, type):
            assert typing.get_type_hints(value).keys() >= vars(value).get("__annotations__", {}).keys()
    with payloadfs.using("memory://architecture"):
        assert b"cpayloadfs\nPayload" in pickle.dumps(payloadfs.Payload([1]), protocol=0)


def test_works_and_aio_are_attributes_that_load_when_used():
    assert "payloadfs.works" not in loaded_modules("import payloadfs")
    assert "payloadfs.works" in loaded_modules("import payloadfs; payloadfs.works.App")
    assert "payloadfs.aio" in loaded_modules("import payloadfs; payloadfs.aio.save")
    with pytest.raises(AttributeError, match="no attribute 'wroks'"):
        _ = payloadfs.wroks


def loaded_modules(code):
    program = f"import sys\n{code}\nprint(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    ("obj", "packages"),
    [
        ([1, 2], {"blake3"}),
        ({"day": dt.date(2026, 1, 1)}, {"blake3"}),
        (complex, {"blake3"}),
        (np.arange(3), {"blake3", "numpy"}),
        (pa.table({"a": [1]}), {"blake3", "pyarrow"}),
        (pl.DataFrame({"a": [1]}), {"blake3", "pyarrow", "polars"}),
        (pd.DataFrame({"a": [1]}), {"blake3", "pyarrow", "numpy", "pandas"}),
    ],
    ids=["json", "tree", "pickle", "array", "Arrow", "polars", "pandas"],
)
def test_loading_imports_only_the_packages_of_the_object(tmp_path, obj, packages):
    text = payloadfs.Repository(tmp_path / "objects").save(obj).to_json()
    code = (
        "import payloadfs; p = payloadfs.Pointer.from_json(input()); "
        f"r = payloadfs.Repository({str(tmp_path / 'objects')!r}); r.load(p)"
    )
    assert loaded_after(code, text) & HEAVY - imported_by(packages) == packages - imported_by(packages)


def imported_by(packages):
    """Return what packages import themselves: pandas needs numpy, pyarrow and polars use it if it is installed."""
    return loaded_after("".join(f"import {package}\n" for package in packages)) - packages


@pytest.mark.parametrize("package", ["fsspec", "s3fs", "cloudpickle", "blake3", "msgspec"])
def test_packages_that_only_help_are_imported_inside_functions(package):
    for path in SOURCE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert package not in {name.partition(".")[0] for name in names}, path
