"""How the documentation is built: no network, and a warning is an error.

Three parts are generated from the installed package before each build, in ``reference/generated``: the help
of every command, the list of conformance kits, and the gallery, which is an executed notebook.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import payloadfs

project = "payloadfs"
author = "The payloadfs developers"
project_copyright = author
version = release = payloadfs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "reference/generated"]

# In docstrings `name` is a Python name. It becomes a link if this documentation has it.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False

# Names of payloadfs must resolve, with these exceptions. Names of other projects are not looked up,
# because that would need the network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"payloadfs\..*\.T"),
    (r"py:.*", r"(?!payloadfs\.).*"),
    (
        r"py:.*",
        r"payloadfs\.(?:_buffers|_digest|_keys|_seal|_urls|integrations|payload|pointer|policy|repository|serializers|signing|stores)\b.*",
    ),
    (r"py:.*", r"payloadfs\.testing\b.*"),
    (r"py:class", r"payloadfs\.(?:_settings\..*|config\.Setting|works\._work\.ConfiguredWork)"),
    (r"py:class", r"payloadfs\.aio\.T"),
]

html_theme = "pydata_sphinx_theme"
html_title = "payloadfs"
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars: dict[str, list[str]] = {"index": []}
html_extra_path = ["reference/pointer-v1.schema.json"]

_GENERATED = Path(__file__).parent / "reference" / "generated"
_CHOICES = re.compile(r"\{([a-z][a-z,-]*)\}\s+\.\.\.")


def _help(*command: str) -> str | None:
    """Return the output of ``payloadfs COMMAND --help``, or None if the command does not exist."""
    try:
        main: Any = importlib.import_module("payloadfs.cli").main
    except (ImportError, AttributeError):
        return None
    printed = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["payloadfs", *command, "--help"]),
        mock.patch.dict("os.environ", {"COLUMNS": "88", "NO_COLOR": "1"}),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main()
    return printed.getvalue()


def _helps(*command: str) -> Iterator[str]:
    output = _help(*command)
    if not output:
        return
    yield f"$ payloadfs {' '.join((*command, '--help'))}\n{output}"
    choices = _CHOICES.search(output.partition("\n\n")[0]) if len(command) < 2 else None
    for name in choices[1].split(",") if choices else ():
        yield from _helps(*command, name)


def _documented(name: str, kit: Any) -> str:
    if isinstance(kit, type):
        return f".. autoclass:: payloadfs.testing.{name}\n   :members:\n"
    return f".. autofunction:: payloadfs.testing.{name}\n"


def _generate(_: Any) -> None:
    _GENERATED.mkdir(parents=True, exist_ok=True)
    helps = "\n".join(_helps()) or "This version of payloadfs has no command line.\n"
    (_GENERATED / "cli.txt").write_text(helps, encoding="utf-8")
    testing = importlib.import_module("payloadfs.testing")
    kits = [_documented(name, getattr(testing, name)) for name in testing.__all__]
    (_GENERATED / "kits.txt").write_text("\n".join(kits), encoding="utf-8")
    sys.path.insert(0, str(Path(__file__).parent))
    importlib.import_module("gallery").write(_GENERATED / "gallery.md")


def setup(app: Any) -> None:
    """Connect the generated files to the build."""
    app.connect("builder-inited", _generate)
