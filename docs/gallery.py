"""The gallery of the documentation: a notebook that is executed for each build, and shown with its outputs."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

CELLS = [
    "Configure where objects go. Here it is a temporary folder.",
    """
import numpy as np
import pandas as pd
import payloadfs
from payloadfs import Payload

payloadfs.configure(FOLDER)
payloadfs.default_repository()
""",
    "A payload shows what is known without loading anything.",
    """
flights = pd.DataFrame({
    "day": pd.date_range("2026-01-01", periods=100_000, freq="min"),
    "delay_min": np.random.default_rng(7).normal(5, 20, 100_000).round(1),
    "carrier": pd.Categorical(np.resize(["AA", "DL", "UA"], 100_000)),
})
payload = Payload(flights, prefix="gallery", expires="7d")
pointer = payload.save()
payload
""",
    "The first rows, on request.",
    "payload.preview(3)",
    "A small value is in the pointer itself.",
    "Payload({'loss': 0.25, 'epoch': 3}).pointer",
    "An error shows your frames and says what to do. A pointer that was changed is refused before any byte is read.",
    "payloadfs.load({**payload.to_dict(), 'size': 1})",
    "So does an object that cannot be stored.",
    "import threading\nPayload({'model': [1, threading.Lock()]}).save()",
]


def gallery() -> str:
    """Return the page as Markdown. The notebook runs in a new kernel."""
    import nbformat
    from nbclient import NotebookClient

    # The kernel must not use the keys of the person who builds the documentation.
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, PAYLOADFS_KEYS_FILE=f"{folder}/keys"):
        code = [cell.strip().replace("FOLDER", repr(folder)) for cell in CELLS[1::2]]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in code])
        client = NotebookClient(notebook, allow_errors=True, timeout=600, resources={"metadata": {"path": folder}})
        client.extra_arguments = ["--log-level=ERROR"]
        client.execute()
        parts = ["# Gallery", "What a notebook shows. This page is made by running one."]
        for text, source, cell in zip(CELLS[::2], CELLS[1::2], notebook.cells, strict=True):
            outputs = "\n\n".join(map(_output, cell.outputs)).replace(folder, "/srv/objects")
            parts += [text, f"```python\n{source.strip()}\n```", outputs]
    return "\n\n".join(parts) + "\n"


def _output(output: Any) -> str:
    if output.output_type == "error":
        text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback))
        return f"```text\n{text}\n```"
    if "text/html" in output.get("data", {}):
        return f"```{{raw}} html\n{output.data['text/html']}\n```"
    return f"```text\n{output.get('text') or output.data['text/plain']}\n```"


def write(path: Path) -> None:
    """Write the page to `path`."""
    path.write_text(gallery(), encoding="utf-8")
