"""Promises about the house itself: what is loaded when, what is public, how large a room is."""

import ast
import pathlib
import subprocess
import sys

import pytest

import payloadfs

SOURCE = pathlib.Path(payloadfs.__file__).parent
HEAVY = {"pandas", "numpy", "pyarrow", "polars", "fsspec", "s3fs", "cloudpickle", "asyncio", "blake3"}


def loaded_after(code):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"],
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
def test_rooms_and_functions_keep_to_their_budget(path):
    text = path.read_text()
    assert text.count("\n") <= 500, "split it by meaning"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - docstring.count("\n")
            assert lines <= 60, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("package", ["pandas", "numpy", "pyarrow", "polars", "fsspec", "s3fs", "cloudpickle", "blake3"])
def test_foreign_packages_are_imported_inside_functions_only(package):
    for path in SOURCE.rglob("*.py"):
        if "testing" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert package not in {name.partition(".")[0] for name in names}, path
