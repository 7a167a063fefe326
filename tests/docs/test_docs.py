"""The documentation stays current: its examples run and print what it says, and every public name is documented."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.parts))
SOURCES = sorted((REPOSITORY / "src" / "payloadfs").rglob("*.py"))
SCHEMA = json.loads((DOCS / "reference" / "pointer-v1.schema.json").read_text())

# A ```text block directly after a Python block is its expected output; ... matches anything.
_BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_LOOSELY = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> Iterator[tuple[list[str], str, str | None]]:
    """Yield flags, code and expected output of each Python block; code keeps its line numbers."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield match[1].split(), "\n" * text.count("\n", 0, match.start(2)) + match[2], match[3]


def run_page(page: Path) -> None:
    """Run the blocks of `page` as one program. Called in a separate process."""
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    for flags, code, expected in blocks(page):
        if "no-run" in flags:
            compile(code, str(page), "exec")
            continue
        printed = io.StringIO()
        if "new-process" in flags:
            command = [sys.executable, "-c", code.lstrip("\n")]
            printed.write(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        else:
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(page), "exec"), main.__dict__)
        checker, example = doctest.OutputChecker(), doctest.Example(code.lstrip("\n"), expected or "")
        if expected is not None and not checker.check_output(expected, printed.getvalue(), _LOOSELY):
            line = code.count("\n", 0, len(code) - len(code.lstrip("\n"))) + 1
            raise AssertionError(f"{page}:{line}\n{checker.output_difference(example, printed.getvalue(), _LOOSELY)}")


@pytest.mark.parametrize(
    "page",
    [page for page in [*PAGES, REPOSITORY / "README.md"] if any(blocks(page))],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_examples(page: Path, tmp_path: Path) -> None:
    """Every ```python block runs, in order, with an empty home, and prints what the page says."""
    command = [sys.executable, __file__, str(page)]
    done = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a process without settings and keys."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PAYLOADFS_", "AWS_"))}
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        variables[name] = str(home / name)
        os.mkdir(variables[name], 0o700)
    return variables


@pytest.mark.parametrize("page", ["how-to/write-a-serializer.md", "how-to/write-a-store.md"])
def test_examples_pass_the_kits(page: str, tmp_path: Path) -> None:
    """The serializer and the store on the pages pass the testing kits."""
    module = tmp_path / "test_page.py"
    # Without the blocks that print: the kit starts a process that imports this module.
    module.write_text(
        "".join(
            code.lstrip("\n")
            for flags, code, expected in blocks(DOCS / page)
            if expected is None and "no-run" not in flags
        )
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(module)]
    done = subprocess.run(command, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_few_examples_are_not_run() -> None:
    # The examples of hosts need the hosts, and are in their own tests.
    pages = [page for page in PAGES if page.parent.name != "hosts"]
    flags = [flags for page in pages for flags, _, _ in blocks(page)]
    assert sum("no-run" in flag for flag in flags) <= len(flags) / 8
    assert {word for flag in flags for word in flag} <= {"no-run", "new-process"}


def everything() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_public_names() -> None:
    """Every public name is on the API page, and every name on the page can be imported."""
    import payloadfs

    api = (DOCS / "reference" / "api.md").read_text()
    assert [name for name in payloadfs.__all__ if not re.search(rf"\bpayloadfs\.{name}\b", api)] == []
    documented = re.findall(r"^\.\. (?:auto)?(?:class|function|exception):: (payloadfs[\w.]+)", api, re.MULTILINE)
    assert {"payloadfs.config.describe", "payloadfs.stores.chosen_transport"} <= set(documented)
    # The real framework is not installed here.
    importable = [name for name in documented if ".integrations." not in name]
    assert [name for name in importable if pkgutil.resolve_name(name) is None] == []


def test_set_up_commands() -> None:
    """The README has two commands that CI runs: one starts an example, one runs the tests."""
    readme = (REPOSITORY / "README.md").read_text()
    example, tests = re.findall(r"^pip install .*$", readme, re.MULTILINE)
    assert (REPOSITORY / example.split()[-1]).is_file()
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    assert re.findall(r"--group (\w+)", tests) == ["dev"]
    assert groups.keys() == {"benchmarks", "dev", "docs"}


def test_settings_and_variables() -> None:
    from payloadfs import config
    from payloadfs.config import TABLE

    page = (DOCS / "reference" / "settings.md").read_text()
    assert [name for name in (*TABLE, *config.VARIABLES) if f"`{name}`" not in page] == []
    # No page has a variable that does not exist.
    assert set(re.findall(r"PAYLOADFS_[A-Z_]*[A-Z]", everything())) - {"PAYLOADFS_ALLOWED_ROOT"} == set(
        config.VARIABLES
    )


def test_errors_and_kinds() -> None:
    from payloadfs import errors

    page = (DOCS / "reference" / "errors.md").read_text()
    assert [name for name in errors.__all__ if f"`{name}`" not in page] == []
    kinds = {kind for source in SOURCES if "testing" not in source.parts for kind in kinds_in(source.read_text())}
    assert len(kinds) > 40
    assert sorted(kind for kind in kinds if f"`{kind}`" not in page) == []


def kinds_in(source: str) -> set[str]:
    """Return the error kinds in `source`, found by pattern."""
    by_name = re.findall(r'\b(?:default_)?kind ?= ?"([a-z-]+)"', source)
    either = re.findall(r'\bkind = "[a-z-]+" if .* else "([a-z-]+)"', source)
    return {*by_name, *either, *re.findall(r'"(policy-[a-z-]+)"', source)}


def test_serializers() -> None:
    from payloadfs.serializers import _registry

    page = (DOCS / "explanation" / "format.md").read_text()
    assert [name for name in _registry._BUILT_IN if f"`{name}`" not in page] == []


def test_decisions_have_a_number_and_the_three_parts() -> None:
    records = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        text = record.read_text()
        assert text.startswith(f"# {record.name[:4]}: "), record
        assert re.findall(r"^## (.*)$", text, re.MULTILINE)[:3] == ["Status", "Decision", "Why"], record


def is_valid(value: Any) -> bool:
    """Return whether `value` matches the published schema."""
    try:
        import jsonschema  # type: ignore[import-untyped]
    except ImportError:
        return fits(value)
    result: bool = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert fits(value) == result
    return result


def fits(value: dict[str, Any]) -> bool:
    """Check `value` against the keywords of JSON Schema that the schema uses."""
    return (
        set(SCHEMA["required"]) <= value.keys() <= SCHEMA["properties"].keys()
        and sum(fits_choice(choice, value) for choice in SCHEMA["oneOf"]) == 1
        and all(others[0] in value for name, others in SCHEMA["dependentRequired"].items() if name in value)
        and all(fits_field(SCHEMA["properties"][name], field) for name, field in value.items())
    )


def fits_choice(choice: dict[str, Any], value: dict[str, Any]) -> bool:
    rules = choice.get("properties", {})
    return set(choice["required"]) <= value.keys() and all(
        rule is not False and (type(value[name]) is not int or value[name] <= rule["maximum"])
        for name, rule in rules.items()
        if name in value
    )


def fits_field(rule: dict[str, Any], field: Any) -> bool:
    if rule["type"] == "integer":
        allowed = range(rule.get("minimum", 0), rule.get("maximum", 2**53) + 1)
        return type(field) is int and field in allowed and field == rule.get("const", field)
    if type(field) is not str:
        return False
    patterns = [choice["pattern"] for choice in rule.get("anyOf", [rule])]
    return len(field) <= rule.get("maxLength", len(field)) and any(re.search(pattern, field) for pattern in patterns)


@pytest.fixture(scope="module")
def pointer() -> dict[str, Any]:
    import payloadfs

    key = payloadfs.Key(bytes(32))
    repository = payloadfs.Repository("memory://docs/schema", keys=payloadfs.KeyRing([key]), inline_bytes=0)
    return dict(repository.save([1, 2]).to_dict())


ROOTS = ["file:///", "file:///srv/My%20Files/%C3%BC", "s3://acme-data/runs", "gs://b", "sftp://host.example:22/a/~b"]


@pytest.mark.parametrize("root", ROOTS)
def test_schema_accepts_real_pointers(pointer: dict[str, Any], root: str) -> None:
    from payloadfs import Pointer

    assert is_valid(pointer)
    assert is_valid(pointer | {"root": root})
    assert Pointer.from_dict(pointer | {"root": root}).root == root
    unsigned = {name: value for name, value in pointer.items() if name not in ("kid", "sig")}
    assert is_valid(unsigned)
    assert not Pointer.from_dict(unsigned).is_signed


BAD: dict[str, list[Any]] = {
    "payloadfs": [2, 0, "1", None],
    "root": [
        "",
        "s3://",
        "s3a://bucket",
        "s3://key:secret@bucket",
        "s3://bucket/",
        "s3://bucket/../other",
        "s3://bucket?x=1",
        "zip::s3://bucket",
        "file://host/a",
        "file:///a/",
        "file:///a//b",
        "file:///a/./b",
        "file:///%41",
        "file:///a%2Fb",
        "s3://" + "b" * 1024,
    ],
    "key": ["", "/a", "a/", "a//b", "../a", ".a", "a b", "a" * 513],
    "serializer": ["pickle", "pickle/0", "pickle/01", "Pickle/1", "os.system/1"],
    "size": [-1, 2**53, "12", None, 1.5],
    "digest": ["", "md5:" + "0" * 64, "b3:" + "0" * 63, "b3:" + "A" * 64, "b3-seal-:" + "0" * 64],
    "created": [-1, 2**53, 1.5],
    "type": ["", "a b", "a" * 81, "a\x00"],
    "kid": ["", "0123456", "0123456G"],
    "sig": ["", "A" * 42, "A" * 42 + "="],
    "context": ["", "c" * 65, "a\nb", 1],
    "other": [1],
    "data": ["", "WzEsMl0="],  # besides root, key and digest
}
BAD_INLINE: dict[str, list[Any]] = {
    "data": ["WzEsMl0", "WzEsMl1=", "W*EsMl0=", "=", 1],
    "size": [16_385],
    "root": ["s3://bucket"],
    "key": ["a.json"],
    "digest": ["b3:" + "0" * 64],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD.items() for value in values])
def test_schema_and_parser_refuse_the_same(pointer: dict[str, Any], field: str, value: Any) -> None:
    from payloadfs import Pointer, PointerError

    bad = pointer | {field: value}
    assert not is_valid(bad)
    with pytest.raises(PointerError):
        Pointer.from_dict(bad)


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_INLINE.items() for value in values]
)
def test_schema_and_parser_refuse_the_same_inline(pointer: dict[str, Any], field: str, value: Any) -> None:
    from payloadfs import Pointer, PointerError

    inline = {name: pointer[name] for name in pointer if name not in ("root", "key", "digest")}
    inline |= {"data": "WzEsMl0="}
    assert is_valid(inline)
    assert Pointer.from_dict(inline).data == b"[1,2]"
    assert not is_valid(inline | {field: value})
    with pytest.raises(PointerError):
        Pointer.from_dict(inline | {field: value})


@pytest.mark.parametrize("field", [*SCHEMA["required"], "root", "key", "digest", "kid", "sig"])
def test_schema_and_parser_require_the_same(pointer: dict[str, Any], field: str) -> None:
    from payloadfs import Pointer, PointerError

    bad = {name: value for name, value in pointer.items() if name != field}
    assert not is_valid(bad)
    with pytest.raises(PointerError):
        Pointer.from_dict(bad)


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
