"""A pass that cannot be committed loses no result: state and calls are saved together or not at all."""

import pytest

from payloadfs import EncodeError
from payloadfs.works import App, Flow, Work, _driver


class Once(Work):
    def __init__(self):
        super().__init__()
        self.result = None

    def run(self):
        self.result = 42


class Main(Flow):
    def __init__(self):
        super().__init__()
        self.once = Once()
        self.seen = []

    def run(self):
        self.once.run()
        if Main.spoil:
            self.seen.append(object())
            self.stop()
        self.seen = [self.once.result]


Main.spoil = False


@pytest.fixture(autouse=True)
def threads(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield {"store": str(tmp_path), "executor": pool}


def resumed(app, threads):
    again = App(Main())
    again.run(**threads, resume=app.run_name)
    return again


def test_an_attribute_that_is_not_json_at_the_end(threads, monkeypatch):
    app = App(Main())
    monkeypatch.setattr(Main, "spoil", True)
    with pytest.raises(EncodeError, match="seen"):
        app.run(**threads)
    monkeypatch.setattr(Main, "spoil", False)
    again = resumed(app, threads)
    assert (again.flow.once.result, again.flow.seen, again.flow.once.status.count) == (42, [42], 1)


@pytest.mark.parametrize("at", range(1, 7))
def test_an_interrupt_between_the_two_steps(threads, monkeypatch, at):
    """`at` counts the commits: the interrupt follows that one."""
    app, times = App(Main()), []
    real = _driver.CallHistory.commit

    def commit(calls):
        times.append(1)
        if len(times) == at:
            real(calls)
            raise KeyboardInterrupt
        real(calls)

    monkeypatch.setattr(_driver.CallHistory, "commit", commit)
    try:
        app.run(**threads)
    except KeyboardInterrupt:
        monkeypatch.setattr(_driver.CallHistory, "commit", real)
        app = resumed(app, threads)
    assert (app.flow.once.result, app.flow.seen, app.flow.once.status.count) == (42, [42], 1)
