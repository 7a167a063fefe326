"""The live view of a run on a terminal: a line for each call that ended, and below them the running works."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

from ..works import Event
from ._common import size
from ._redirect import redirect_fd
from ._report import Lines, duration, failure, indented, last_state, payloads

_MAX_WORKS_SHOWN = 8
_REFRESHES_PER_S = 8


def can_draw() -> bool:
    """Return whether standard error is a terminal that supports a live view, and rich is installed."""
    import importlib.util
    import os

    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return "utf" in sys.stderr.encoding.lower() and importlib.util.find_spec("rich") is not None


class Live(Lines):
    """A live display of the running works and their times; their output appears above it, line by line."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live as LiveDisplay
        from rich.spinner import Spinner

        self._spinner = Spinner("dots", style="cyan")
        for name in ("stderr", "stdout"):
            if getattr(sys, name).isatty():
                self.out.streams[name] = self._stack.enter_context(redirect_fd(name, self._print_above))
                self._stack.callback(self.out.streams.update, {name: getattr(sys, name)})
        self._console: Any = Console(file=self.out.streams["stderr"], highlight=False, emoji=False, markup=False)
        self._display: Any = LiveDisplay(
            get_renderable=self._render,
            console=self._console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._stack.enter_context(self._display)
        return self

    def __exit__(self, *_: object) -> None:
        from rich.console import Console

        super().__exit__()
        self._console = Console(stderr=True, highlight=False, emoji=False, markup=False)

    def end(self, stage: str, message: str, hint: str) -> None:
        """Write the summary, and the command that resumes the run."""
        mark, style = {"finished": ("✓", "green"), "idle": ("∅", "yellow"), "failed": ("✗", "red")}.get(
            stage, ("■", "yellow")
        )
        preposition = "in" if stage == "finished" else "after"
        details = f": {message}" if message else ""
        took = duration(self.tally.took_s)
        text = f"{self.tally.run} {stage} {preposition} {took}{details}"
        self._marked_line(mark, style, text, f"  {self.tally.summary()}")
        if hint:
            self._marked_line(" ", style, "to resume: ", "", hint)

    def _show(self, event: Event, started: list[str]) -> None:  # noqa: ARG002  # the display shows them
        took = "" if event.took_s is None else duration(event.took_s)
        name = f"{event.work:<{self._width}}  {took:>8}"
        if event.kind == "output":
            self._output(event)
        elif event.kind == "call-retried":
            self._marked_line("↻", "yellow", name, f"  {event.message}")
        elif event.kind in ("run-started", "run-resumed"):
            verb = "resumed" if event.kind == "run-resumed" else "started"
            self._marked_line(" ", "", f"{event.run} {verb}", f"  in {self._root}")
        elif event.kind == "call-succeeded":
            self._marked_line("✓", "green", name, f"  {payloads(event)}" if event.stored else "")
        elif event.kind == "call-stopped":
            self._marked_line("■", "yellow", name, "  stopped")
        elif event.kind == "call-failed":
            self._marked_line("✗", "red", name, "  failed")
            self._print_failure(event.message)

    def _output(self, event: Event) -> None:
        """Print whole lines above the display, which shows an unfinished one, such as a progress bar, beside its work."""
        if not self._is_on_terminal(event.stream):
            super()._output(event)
            return
        for line in self._lines(event):
            self._print_above(event.stream, line)

    def _print_failure(self, message: str) -> None:
        above, _, last = indented(failure(message)).rstrip("\n").rpartition("\n")
        if above:
            self._print(above, "dim")
        self._print(last, "red")

    def _marked_line(self, mark: str, style: str, text: str, details: str, command: str = "") -> None:
        from rich.text import Text

        self._print(Text.assemble((mark, style), " ", text, (details, "dim"), (command, "bold")))

    def _print(self, text: Any, style: str = "") -> None:
        try:
            self._console.print(text, style=style, soft_wrap=True)
        except OSError as error:
            self.out.fail(error)

    def _print_above(self, _: str, text: str) -> None:
        """Print output above the display."""
        from rich.text import Text

        for line in text.removesuffix("\n").split("\n"):
            self._print(Text.from_ansi(last_state(line)))

    def _is_on_terminal(self, stream: str) -> bool:
        return getattr(sys, stream).isatty() or self.out.streams[stream] is not getattr(sys, stream)

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        # Other threads change these at the same time: use copies, not the lock, which they may hold.
        running, waiting, now_s = list(self.tally.running.items()), len(self.tally.waiting), time.monotonic()
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for work, began_s in running[:_MAX_WORKS_SHOWN]:
            name = f"{work:<{self._width}}  {duration(now_s - began_s):>8}"
            unfinished = self._unfinished.get((work, "stderr")) or self._unfinished.get((work, "stdout"), "")
            progress = Text.from_ansi(f"  {last_state(unfinished)}")
            table.add_row(self._spinner, Text.assemble(name, progress))
        more = len(running) - _MAX_WORKS_SHOWN
        counts = [f"and {more} more" if more > 0 else "", f"{waiting} waiting" if waiting else ""]
        counts += [f"{self.tally.calls} done" if self.tally.calls else ""]
        counts += [f"{size(self.tally.stored_bytes)} stored" if self.tally.payloads else ""]
        table.add_row("", Text(" · ".join([*filter(None, counts), duration(self.tally.took_s)]), style="dim"))
        return table
