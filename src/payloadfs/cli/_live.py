"""The live view of a run on a terminal: what ended stays as lines, what runs is drawn below them."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from ..works import Event
from ._common import size
from ._redirect import diverted
from ._report import Lines, duration, failure, indented, payloads

__all__ = ["Live", "can_draw"]

_DRAWN_WORKS = 8
_PER_S = 8


def can_draw() -> bool:
    """Return whether standard error is a terminal that can be drawn on, and rich is there to do it."""
    import importlib.util
    import os

    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return "utf" in sys.stderr.encoding.lower() and importlib.util.find_spec("rich") is not None


class Live(Lines):
    """Draws which works run and for how long; what they print appears above, line by line."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live as Drawing
        from rich.spinner import Spinner

        self._spinner = Spinner("dots", style="cyan")
        for name in ("stderr", "stdout"):
            if getattr(sys, name).isatty():
                self.out.streams[name] = self._stack.enter_context(diverted(name, self._above))
                self._stack.callback(self.out.streams.update, {name: getattr(sys, name)})
        self._console: Any = Console(file=self.out.streams["stderr"], highlight=False, emoji=False, markup=False)
        self._drawing: Any = Drawing(
            get_renderable=self._drawn,
            console=self._console,
            refresh_per_second=_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._stack.enter_context(self._drawing)
        return self

    def __exit__(self, *_: object) -> None:
        from rich.console import Console

        super().__exit__()
        self._console = Console(stderr=True, highlight=False, emoji=False, markup=False)

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary, and the command that goes on."""
        mark, style = {"finished": ("✓", "green"), "failed": ("✗", "red")}.get(stage, ("■", "yellow"))
        word = "in" if stage == "finished" else "after"
        said = f": {message}" if message else ""
        took = duration(self.tally.took_s)
        self._line(mark, style, f"{self.tally.run} {stage} {word} {took}{said}", f"  {self.tally.words()}")
        if hint:
            self._line(" ", style, "to go on: ", "", hint)

    def _tell(self, event: Event, begun: list[str]) -> None:  # noqa: ARG002  # what runs is drawn
        took = "" if event.took_s is None else duration(event.took_s)
        name = f"{event.work:<{self._width}}  {took:>8}"
        if event.kind == "output":
            self._above(event.stream, event.message)
        elif event.kind in ("run-started", "run-resumed"):
            goes_on = " goes on" if event.kind == "run-resumed" else ""
            self._line(" ", "", f"{event.run}{goes_on}", f"  in {self._root}")
        elif event.kind == "call-succeeded":
            self._line("✓", "green", name, f"  {payloads(event)}" if event.stored else "")
        elif event.kind == "call-stopped":
            self._line("■", "yellow", name, "  stopped")
        elif event.kind == "call-failed":
            self._line("✗", "red", name, "  failed")
            self._failure(event.message)

    def _failure(self, message: str) -> None:
        above, _, last = indented(failure(message)).rstrip("\n").rpartition("\n")
        if above:
            self._print(above, "dim")
        self._print(last, "red")

    def _line(self, mark: str, style: str, text: str, more: str, command: str = "") -> None:
        from rich.text import Text

        self._print(Text.assemble((mark, style), " ", text, (more, "dim"), (command, "bold")))

    def _print(self, text: Any, style: str = "") -> None:
        try:
            self._console.print(text, style=style, soft_wrap=True)
        except OSError as error:
            self.out.fail(error)

    def _above(self, stream: str, text: str) -> None:
        """Show what was printed above what is drawn, if both go to this terminal."""
        from rich.text import Text

        if not getattr(sys, stream).isatty() and not self._is_diverted(stream):
            self.out.write(stream, text)
            return
        for line in text.removesuffix("\n").split("\n"):
            # Of a line that was written over and over only its last state is left.
            self._print(Text.from_ansi(line.rpartition("\r")[2]))

    def _is_diverted(self, stream: str) -> bool:
        return self.out.streams[stream] is not getattr(sys, stream)

    def _drawn(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        # Other threads change these meanwhile: a copy, and no lock that they might hold.
        running, waiting, now_s = list(self.tally.running.items()), len(self.tally.waiting), time.monotonic()
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for work, began_s in running[:_DRAWN_WORKS]:
            name = f"{work:<{self._width}}  {duration(now_s - began_s):>8}"
            table.add_row(self._spinner, Text(name))
        more = len(running) - _DRAWN_WORKS
        facts = [f"and {more} more" if more > 0 else "", f"{waiting} waiting" if waiting else ""]
        facts += [f"{self.tally.calls} done" if self.tally.calls else ""]
        facts += [f"{size(self.tally.stored_bytes)} stored" if self.tally.payloads else ""]
        table.add_row("", Text(" · ".join([*filter(None, facts), duration(self.tally.took_s)]), style="dim"))
        return table
