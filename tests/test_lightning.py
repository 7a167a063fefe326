"""The names of Lightning App: what programs for it rely on, with works in real processes."""

from __future__ import annotations

import copy
import datetime
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import payloadfs
import payloadfs.lightning as lapp
from payloadfs import ConfigError, PolicyError, Repository
from payloadfs.lightning import next_time


class Source(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.numbers: Any = None

    def run(self, numbers: list[int]) -> None:
        self.numbers = lapp.storage.Payload(numbers)


class Loud(lapp.storage.Payload):
    def save(self, obj: str, path: str) -> None:
        Path(path).write_text(obj.upper())

    def load(self, path: str) -> str:
        return Path(path).read_text()


class Destination(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.seen: Any = None
        self.names: Any = None
        self.loud: Any = None
        self.kept: Any = None

    def run(self, payload: lapp.storage.Payload) -> None:
        self.seen = payload.value
        self.names = [payload.name, payload.origin_name, payload.consumer_name]
        self.loud = Loud("hello")
        self.kept = payload


class Main(lapp.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.src = Source()
        self.dst = Destination()

    def run(self) -> None:
        self.src.run([1, 2])
        self.dst.run(payload=self.src.numbers)


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    """Pickle the classes of this file by value: no other process can import it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def test_a_program_for_lightning_app(tmp_path: Path) -> None:
    app = lapp.LightningApp(Main())
    app.run(store=str(tmp_path), max_workers=1)
    again = lapp.LightningApp(Main())
    again.run(store=str(tmp_path), resume=app.run_name)
    for ran in (app, again):
        check_what_arrived(ran.flow.dst)
        check_what_the_flow_sees(ran.flow.src.numbers)
        check_what_was_passed_on(ran.flow.dst.kept)
        check_a_custom_format(ran.flow.dst.loud)


def check_what_arrived(dst: Destination) -> None:
    assert dst.seen == [1, 2]
    assert dst.names == ["numbers", "root.src", "root.dst"]


def check_what_the_flow_sees(numbers: lapp.storage.Payload) -> None:
    """In Lightning App, the flow always sees None."""
    assert numbers.value == numbers.get() == [1, 2]
    assert numbers.exists_remote()


def check_what_was_passed_on(kept: lapp.storage.Payload) -> None:
    """In Lightning App, assigning it under another name hangs."""
    assert (kept.name, kept.origin_name, kept.consumer_name) == ("numbers", "root.src", "root.dst")
    assert kept.value == [1, 2]


def check_a_custom_format(loud: lapp.storage.Payload) -> None:
    assert type(loud) is Loud
    assert loud.value == "HELLO"
    assert loud.pointer.serializer == "bytes/1"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_keep_names(copied: Any) -> None:
    with payloadfs.using("memory://lightning-copies"):
        work = Source()
        work.run([3])
        twin = copied(work.numbers)
        assert (twin.name, twin.origin_name, twin.value) == ("numbers", "root", [3])


def test_a_payload_in_init_is_refused_with_a_hint() -> None:
    class Early(lapp.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.df = lapp.storage.Payload([1])

    with pytest.raises(AttributeError, match=r"Assign the Payload to 'df' in run\(\).*df = None"):
        Early()


def test_an_unassigned_payload_has_no_names() -> None:
    payload = lapp.storage.Payload(None)
    assert (payload.name, payload.origin_name, payload.consumer_name) == (None, None, None)
    assert not payload.exists_remote()
    assert bool(payload)


def test_payload_of_none_has_the_value_none() -> None:
    with payloadfs.using("memory://lightning-none"):
        work = Source()
        work.run(None)  # type: ignore[arg-type]
        assert work.numbers.value is None


def test_a_custom_format_needs_a_signature(tmp_path: Path) -> None:
    """Its load is code that runs on stored bytes: it must not be called for an unsigned pointer."""
    repository = Repository(tmp_path, unsigned="safe")
    pointer = repository.save(b"HELLO")
    unsigned = payloadfs.Pointer.from_dict({k: v for k, v in pointer.to_dict().items() if k not in ("kid", "sig")})
    assert repository.load(unsigned) == b"HELLO"
    assert Loud.from_pointer(pointer, repository=repository).value == "HELLO"
    with pytest.raises(PolicyError):
        _ = Loud.from_pointer(unsigned, repository=repository).value
    never = Repository(tmp_path, pickle="never")
    with pytest.raises(PolicyError):
        _ = Loud.from_pointer(pointer, repository=never).value


def test_overriding_only_load_is_refused() -> None:
    class OnlyLoad(lapp.storage.Payload):
        def load(self, path: str) -> str:
            return path

    with payloadfs.using("memory://lightning-half"), pytest.raises(ConfigError, match="only one of save and load"):
        _ = OnlyLoad("x").pointer


def test_the_default_format_is_a_pickle_file(tmp_path: Path) -> None:
    path = str(tmp_path / "v")
    lapp.storage.Payload(1).save({"a": 1}, path)
    assert lapp.storage.Payload(1).load(path) == {"a": 1}


def test_payload_can_be_imported_as_programs_for_lightning_do() -> None:
    from payloadfs.lightning.storage import Payload as Imported
    from payloadfs.lightning.structures import Dict, List

    assert Imported is lapp.Payload is lapp.storage.Payload
    assert (List(1, 2), Dict(a=1)) == ([1, 2], {"a": 1})


@pytest.mark.parametrize(
    "statement",
    [
        "from payloadfs.lightning.storage import Drive",
        "from payloadfs.lightning.storage import Path",
        "from payloadfs.lightning import frontend",
        "from payloadfs.lightning import components",
    ],
)
def test_what_is_missing_is_refused_with_a_pointer_to_the_page(statement: str) -> None:
    with pytest.raises(ImportError, match=r"docs/how-to/run-lightning-programs.md"):
        exec(statement, {})


class Cloudy(lapp.LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True, cloud_compute=lapp.CloudCompute("gpu"), start_with_flow=False, port=8000)
        self.display_name = "cloudy"
        self.model: Any = None

    def run(self) -> None:
        self.model = lapp.Payload([self.port])
        time.sleep(600)


class Serving(lapp.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.seen: Any = None
        self.works_here = lapp.structures.List()

    def run(self) -> None:
        if not self.works_here:
            self.works_here.append(Cloudy())
        (cloudy,) = self.works_here
        cloudy.start()
        cloudy.run()
        if cloudy.model is not None:
            self.seen = [cloudy.model.value, cloudy.is_running, cloudy.display_name, len(self.named_works())]
            self.stop()


def test_a_work_that_attaches_a_payload_and_serves_for_ever(tmp_path: Path) -> None:
    app = lapp.LightningApp(Serving(), log_level="debug")
    app.run(store=str(tmp_path / "store"), max_workers=1, grace_s=1)
    assert app.root.seen == [[8000], True, "cloudy", 1]


@pytest.mark.parametrize(
    ("pattern", "after", "expected"),
    [
        ("*/5 * * * *", "2026-11-28 10:01", "2026-11-28 10:05"),
        ("0 3 * * *", "2026-11-28 03:00", "2026-11-29 03:00"),
        ("30 8 1 1 *", "2026-11-28 03:00", "2027-01-01 08:30"),
        ("0 12 * * 1-5", "2026-11-28 03:00", "2026-11-30 12:00"),
        ("0 0 29 2 *", "2026-11-28 03:00", "2028-02-29 00:00"),
        ("0 0 13 * 5", "2026-11-28 03:00", "2026-12-04 00:00"),
        ("@daily", "2026-11-28 03:00", "2026-11-29 00:00"),
        ("15 10-12/2 * feb sat", "2026-11-28 03:00", "2027-02-06 10:15"),
    ],
)
def test_cron_expressions(pattern: str, after: str, expected: str) -> None:
    def seconds(text: str) -> float:
        return datetime.datetime.fromisoformat(f"{text}+00:00").timestamp()

    assert next_time(pattern, seconds(after)) == seconds(expected)


@pytest.mark.parametrize(
    "pattern", ["", "* * * *", "* * * * * *", "@never", "60 * * * *", "a * * * *", "*/0 * * * *", "0 0 31 2 *"]
)
def test_wrong_cron_expressions(pattern: str) -> None:
    with pytest.raises(ConfigError):
        next_time(pattern, 0.0)


class Scheduled(lapp.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def run(self) -> None:
        if self.schedule("* * * * *"):
            self.times += 1
            if self.times == 2:
                self.stop()


def test_a_schedule_wakes_the_flow_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cron expression for each hundredth of a second, so that the test need not wait for a minute."""
    monkeypatch.setattr(lapp, "next_time", lambda pattern, after_s: after_s + 0.01)
    app = lapp.LightningApp(Scheduled())
    app.run(store=str(tmp_path / "store"), max_workers=1)
    assert app.root.times == 2
