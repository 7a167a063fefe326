"""What works print: where it goes, in which order, and how much of it."""

import subprocess
import sys

import pytest

from payloadfs.works import Flow, Work


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
        elif self.how == "odd":
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
    """Run a loud work; return what it printed, stream by stream and text by text."""

    def start(how, **options):
        events = []

        def told(event):
            if event.kind == "output":
                assert event.work in ("root.loud", "")
                events.append((event.stream, event.message))

        if request.param == "threads":
            run(Main(how, **options), on_event=told)
        else:
            _in_own(Main(how, **options), told)
        return events

    return start


def _in_own(flow, told):
    from payloadfs.works import App

    App(flow).run(max_workers=1, on_event=told)


def text(events, stream="stdout"):
    return "".join(message for name, message in events if name == stream)


def test_order_of_both_streams(printed):
    events = printed("order")
    lines = [(name, line) for name, message in events for line in message.split()]
    assert lines == [("stderr" if n % 3 == 0 else "stdout", str(n)) for n in range(20)]


def test_parts_of_lines(printed):
    assert text(printed("parts")) == "a-bc\nd"


def test_what_was_printed_before_a_failure(printed):
    assert text(printed("raise", raise_exception=False)) == "before it failed\n"


def test_odd_characters(printed):
    assert text(printed("odd")) == "ä€😀\x00\r\n"


def test_a_stream_takes_texts_only(run):
    flow = run(Main("bytes", raise_exception=False)).flow
    assert "TypeError" in flow.loud.status.message


def test_many_lines():
    """In a process of ours all arrive; in others' the first million characters."""
    events = []
    _in_own(Main("many"), lambda event: events.append(event.message) if event.kind == "output" else None)
    assert "".join(events) == "".join(f"{n}\n" for n in range(200_000))


def test_many_lines_in_another_executor(run):
    events = []
    run(Main("many"), on_event=lambda event: events.append(event.message) if event.kind == "output" else None)
    whole = "".join(events)
    assert whole.startswith("0\n1\n2\n")
    assert whole.endswith("[more was printed, and dropped]\n")
    assert len(whole) < 1_001_000


def test_two_works_in_threads_never_mix(run):
    class Two(Flow):
        def __init__(self):
            super().__init__()
            self.louds = [Loud("order", parallel=True) for _ in range(4)]

        def run(self):
            for loud in self.louds:
                loud.run()

    streams = sys.stdout, sys.stderr
    lines = {}
    run(Two(), on_event=lambda event: lines.setdefault(event.work, []).extend(event.message.split()))
    assert [lines[f"root.louds.{n}"] for n in range(4)] == [[str(n) for n in range(20)]] * 4
    assert (sys.stdout, sys.stderr) == streams


def test_threads_and_programs_of_a_work_print_as_ever(tmp_path):
    program = (
        "from payloadfs.works import LocalExecutor\nimport subprocess, threading\n"
        "def run():\n"
        "    thread = threading.Thread(target=print, args=('from a thread',)); thread.start(); thread.join()\n"
        "    subprocess.run(['echo', 'from a program'], check=True)\n"
        "with LocalExecutor(1) as pool: pool.submit(run).result()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["from a program", "from a thread"]


def test_by_default_it_is_printed_here(run, capsys):
    run(Main("order"))
    out, err = capsys.readouterr()
    assert out.split() == [str(n) for n in range(20) if n % 3]
    assert err.split() == [str(n) for n in range(20) if n % 3 == 0]
