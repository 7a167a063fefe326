"""Capture of what works print: the streams, the order, and the limit."""

import subprocess
import sys

import pytest

from payloadfs.works import Flow, Work
from payloadfs.works._capture import capture_output


class Loud(Work):
    def __init__(self, how, **options):
        super().__init__(**options)
        self.how = how

    def run(self):
        if self.how == "order":
            for n in range(20):
                print(n, file=sys.stderr if n % 3 == 0 else sys.stdout)
        elif self.how == "parts":
            print("a", "b", sep="-", end="")
            sys.stdout.writelines(["c\n", "d"])
            sys.stdout.flush()
            assert not sys.stdout.isatty()
            assert sys.stdout.encoding
            assert sys.stdout.buffer
        elif self.how == "raise":
            print("before it failed")
            raise ValueError
        elif self.how == "many":
            for n in range(200_000):
                print(n)
        elif self.how == "unusual":
            print("ä€😀\x00\r\n", end="")
        elif self.how == "bytes":
            sys.stdout.write(b"no text")


class Main(Flow):
    def __init__(self, how, **options):
        super().__init__()
        self.loud = Loud(how, **options)

    def run(self):
        self.loud.run()


@pytest.fixture(params=["threads", "processes"])
def printed(request, run):
    """Return a function that runs a work and returns its output, as pairs of stream and string."""

    def start(how, **options):
        events = []

        def on_event(event):
            if event.kind == "output":
                assert event.work in ("root.loud", "")
                events.append((event.stream, event.message))

        if request.param == "threads":
            run(Main(how, **options), on_event=on_event)
        else:
            _in_local_executor(Main(how, **options), on_event)
        return events

    return start


def _in_local_executor(flow, on_event):
    from payloadfs.works import App

    App(flow).run(max_workers=1, on_event=on_event)


def text(events, stream="stdout"):
    return "".join(message for name, message in events if name == stream)


def test_order_of_both_streams(printed):
    events = printed("order")
    lines = [(name, line) for name, message in events for line in message.split()]
    assert lines == [("stderr" if n % 3 == 0 else "stdout", str(n)) for n in range(20)]


def test_parts_of_lines(printed):
    assert text(printed("parts")) == "a-bc\nd"


def test_progress_bars_and_flushed_lines_are_passed_on_unfinished():
    passed_on = []
    with capture_output(lambda _, text: passed_on.append(text)):
        for part in ("fi", "rst\n", "\r  0%", "\r 50%", "\n", "a"):
            print(part, end="")
        print("b", end="", flush=True)
        print("c")
    assert passed_on == ["first\n", "\r  0%", "\r 50%", "\n", "ab", "c\n"]


def test_output_before_a_failure(printed):
    assert text(printed("raise", raise_exception=False)) == "before it failed\n"


def test_unusual_characters(printed):
    assert text(printed("unusual")) == "ä€😀\x00\r\n"


def test_a_stream_accepts_only_strings(run):
    flow = run(Main("bytes", raise_exception=False)).flow
    assert "TypeError" in flow.loud.status.message


def test_many_lines():
    """All output of our own processes arrives; other executors keep the first million characters."""
    events = []
    _in_local_executor(Main("many"), lambda event: events.append(event.message) if event.kind == "output" else None)
    assert "".join(events) == "".join(f"{n}\n" for n in range(200_000))


def test_many_lines_in_another_executor(run):
    events = []
    run(Main("many"), on_event=lambda event: events.append(event.message) if event.kind == "output" else None)
    whole = "".join(events)
    assert whole.startswith("0\n1\n2\n")
    assert whole.endswith("[further output was dropped]\n")
    assert len(whole) < 1_001_000


def test_output_of_works_in_threads_does_not_mix(run):
    class Several(Flow):
        def __init__(self):
            super().__init__()
            self.louds = [Loud("order", parallel=True) for _ in range(4)]

        def run(self):
            for loud in self.louds:
                loud.run()

    streams = sys.stdout, sys.stderr
    lines = {}
    run(Several(), on_event=lambda event: lines.setdefault(event.work, []).extend(event.message.split()))
    assert [lines[f"root.louds.{n}"] for n in range(4)] == [[str(n) for n in range(20)]] * 4
    assert (sys.stdout, sys.stderr) == streams


def test_output_of_threads_and_child_processes_is_not_captured(tmp_path):
    program = (
        "from payloadfs.works import LocalExecutor\nimport subprocess, threading\n"
        "def run():\n"
        "    thread = threading.Thread(target=print, args=('from a thread',)); thread.start(); thread.join()\n"
        "    subprocess.run(['echo', 'from a program'], check=True)\n"
        "with LocalExecutor(1) as pool: pool.submit(run).result()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["from a program", "from a thread"]


def test_output_is_printed_by_default(run, capsys):
    run(Main("order"))
    out, err = capsys.readouterr()
    assert out.split() == [str(n) for n in range(20) if n % 3]
    assert err.split() == [str(n) for n in range(20) if n % 3 == 0]
