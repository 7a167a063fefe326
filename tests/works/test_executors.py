"""Other executors: what is sent through them, and what must never be sent."""

import concurrent.futures as futures
import contextvars
import json
import multiprocessing
import pickle

import pytest

import payloadfs
from payloadfs import ConfigError, Payload, WorkError
from payloadfs.works import App, Flow, LocalExecutor, Work
from payloadfs.works._app import _settings_for_calls
from payloadfs.works._submit import Submitter
from payloadfs.works._task import Task

CANARIES = [f"canary-{n:02}-{'x' * 8}" for n in range(12)]


class Source(Work):
    def __init__(self, **options):
        super().__init__(**options)
        self.data = None
        self._note = "a private attribute of the user"

    def run(self, number=0):
        self.data = Payload([number] * 10)


class Sum(Work):
    def __init__(self):
        super().__init__()
        self.total = None

    def run(self, data):
        self.total = sum(data.value)


class Main(Flow):
    def __init__(self):
        super().__init__()
        self.source, self.sum = Source(), Sum()

    def run(self):
        self.source.run(4)
        self.sum.run(self.source.data)


class Cluster(futures.Executor):
    def __init__(self):
        self.sent = []
        self.threads = futures.ThreadPoolExecutor(2)

    def submit(self, function, task):
        self.sent.append(pickle.dumps((function, task)))
        return self.threads.submit(function, task)


@pytest.fixture
def cluster():
    one = Cluster()
    yield one
    one.threads.shutdown()


def test_threads(run, threads):
    assert run(Main(), threads).flow.sum.total == 40


def test_the_process_pool_of_the_standard_library(run):
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert run(Main(), pool).flow.sum.total == 40


def test_a_broken_process_pool_ends_the_app(run):
    import os

    class Dying(Work):
        def run(self):
            os._exit(1)

    class Broken(Flow):
        def __init__(self):
            super().__init__()
            self.dying, self.source = Dying(raise_exception=False), Source()

        def run(self):
            self.dying.run()
            self.source.run()

    flow = Broken()
    pool = futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with pool, pytest.raises(WorkError, match="no longer accepts calls: BrokenProcessPool"):
        run(flow, pool)
    assert flow.dying.has_failed


def test_a_local_executor_of_the_user(run):
    ring = payloadfs.KeyRing([payloadfs.Key.generate()])
    with LocalExecutor(1) as pool, payloadfs.using(keys=ring):
        assert run(Main(), pool).flow.sum.total == 40
        assert pool.submit(sum, [1, 2]).result() == 3


@pytest.mark.parametrize(
    "executor",
    [3, "threads", "http://x", object(), futures.Executor],
    ids=["number", "string", "url", "object", "class"],
)
def test_values_that_are_not_executors(executor):
    with pytest.raises(ConfigError, match="is not an executor") as caught:
        App(Main()).run(executor=executor)
    assert caught.value.kind == "executor"


def test_a_memory_store_needs_threads(run):
    with payloadfs.using("memory://here"):
        with pytest.raises(ConfigError, match="exists in one process only"):
            App(Main()).run()
        assert run(Main()).flow.sum.total == 40


def canary_ring():
    return payloadfs.KeyRing([payloadfs.Key(CANARIES[0].ljust(32, "x").encode())])


def options():
    return {
        "key": CANARIES[1],
        "secret": CANARIES[2],
        "token": CANARIES[3],
        "client_kwargs": {"aws_session_token": CANARIES[4], "headers": {"auth": CANARIES[5]}},
    }


def canaries_in(sent):
    """Return the canaries in what was sent, in any encoding."""
    import base64

    everything = b"".join(sent)
    encodings = {c: [c.encode(), base64.b64encode(c.encode())[:12], c.encode().hex().encode()] for c in CANARIES}
    return [canary for canary, forms in encodings.items() if any(form in everything for form in forms)]


@pytest.mark.parametrize("how", ["storage_options", "keys"])
@pytest.mark.parametrize("where", ["using", "configure"])
def test_secrets_set_in_code_are_refused(cluster, how, where):
    secret = {"storage_options": options(), "keys": canary_ring()}[how]
    if where == "configure":
        payloadfs.configure(**{how: secret})
    try:
        with (
            payloadfs.using(**({how: secret} if where == "using" else {})),
            pytest.raises(ConfigError, match=f"{how} was set in code.*PAYLOADFS_{how.upper()}.*send_secrets") as caught,
        ):
            App(Main()).run(executor=cluster)
    finally:
        payloadfs.config.reset()
    assert caught.value.kind == "secrets"
    assert not canaries_in([str(caught.value).encode(), repr(caught.value).encode()])
    assert cluster.sent == []


def test_secrets_of_the_environment_and_of_files_are_not_sent(cluster, monkeypatch, tmp_path):
    ring = canary_ring()
    monkeypatch.setenv("PAYLOADFS_KEYS", ring.keys[0].to_line())
    monkeypatch.setenv("PAYLOADFS_STORAGE_OPTIONS", json.dumps(options()))
    config = tmp_path / "config.toml"
    config.write_text(f'[storage_options]\nkey = "{CANARIES[6]}"\nsecret = "{CANARIES[7]}"\n')
    monkeypatch.setenv("PAYLOADFS_CONFIG", str(config))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARIES[8])
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARIES[9])
    monkeypatch.setenv("SOME_PASSWORD", CANARIES[10])
    (tmp_path / "home-of-keys").write_text(CANARIES[11])
    for send_secrets in (False, True):  # this concerns only secrets set in code
        sent = _settings_for_calls(payloadfs.config.current(), cluster, send_secrets=send_secrets)
        assert canaries_in([pickle.dumps(sent)]) == []
        assert ring.keys[0].material not in pickle.dumps(sent)
    monkeypatch.delenv("PAYLOADFS_STORAGE_OPTIONS")
    monkeypatch.delenv("PAYLOADFS_CONFIG")
    app = App(Main())
    app.run(executor=cluster)
    assert app.flow.sum.total == 40
    assert len(cluster.sent) == 2
    assert canaries_in(cluster.sent) == []
    assert ring.keys[0].material not in b"".join(cluster.sent)
    assert b"payloadfs-key" not in b"".join(cluster.sent)


def test_secrets_are_sent_if_allowed(cluster):
    with payloadfs.using(keys=canary_ring()):
        app = App(Main())
        app.run(executor=cluster, send_secrets=True)
    assert app.flow.sum.total == 40
    assert canaries_in(cluster.sent) == [CANARIES[0]]


def test_the_repr_of_a_task_contains_no_secret(cluster):
    with payloadfs.using(keys=canary_ring()):
        App(Main()).run(executor=cluster, send_secrets=True)
    _, task = pickle.loads(cluster.sent[0])
    assert isinstance(task, Task)
    assert not canaries_in([repr(task).encode(), str(task).encode()])


def test_a_task_is_small_whatever_the_size_of_payloads(run, cluster):
    class Large(Flow):
        def __init__(self):
            super().__init__()
            self.data = Payload(bytes(20_000_000))
            self.sum = Sum()

        def run(self):
            self.sum.run(self.data)

    run(Large(), cluster)
    assert max(map(len, cluster.sent)) < 10_000


def test_works_resolve_the_same_roots_as_the_flow(threads, tmp_path, monkeypatch):
    """Without configuration, signed pointers may name other roots, and works must accept them too."""
    payloadfs.config.reset()

    def check() -> None:
        settings = payloadfs.config.current()
        for executor in (None, threads, Cluster()):
            sent = _settings_for_calls(settings, executor, send_secrets=False)
            with payloadfs.using(**sent) as inside:
                assert inside.roots == settings.roots

    contextvars.Context().run(check)  # outside of the fixture's `using`


class Held(futures.Executor):
    """Runs nothing before it is released."""

    def __init__(self):
        self.held = []

    def submit(self, function, task):
        future = futures.Future()
        self.held.append((future, function, task))
        return future

    def release(self, count):
        for future, function, task in self.held[:count]:
            future.set_result(function(task))
        del self.held[:count]


class Many(Flow):
    def __init__(self, look):
        super().__init__()
        self.works = [Source(parallel=True) for _ in range(5)]
        self._look = look

    def run(self):
        for number, work in enumerate(self.works):
            work.run(number)
        self._look()


def test_works_that_do_not_begin_are_reported_once(run, monkeypatch):
    executor, submitters, messages = Held(), [], []
    monkeypatch.setattr("payloadfs.works._submit._WAIT_WARNING_S", 0)

    def capture(*arguments):
        submitters.append(Submitter(*arguments))
        return submitters[0]

    monkeypatch.setattr("payloadfs.works._driver.Submitter", capture)

    def look():
        if executor.held:
            executor.release(1)
            messages.append(submitters[0].waiting_works())
            messages.append(submitters[0].waiting_works())
            executor.release(4)

    run(Many(look), executor)
    assert messages == [
        "After 0 s, the executor has not started root.works.1, root.works.2, root.works.3 and 1 more.",
        "",
    ]


@pytest.mark.parametrize("retries", [0, 1])
def test_an_executor_that_starts_an_attempt_again(run, tmp_path, retries):
    """As several do when a process dies. The work runs once for each attempt."""

    class Again(Cluster):
        def submit(self, function, task):
            super().submit(function, task).result()
            return super().submit(function, task)

    class Counts(Work):
        def __init__(self):
            super().__init__(raise_exception=False, retries=retries, backoff=0)

        def run(self):
            with open(tmp_path / "runs", "a") as file:
                file.write("x")

    class Calls(Flow):
        def __init__(self):
            super().__init__()
            self.work = Counts()

        def run(self):
            self.work.run()

    work = run(Calls(), Again()).flow.work
    assert work.has_failed
    assert "and started it again, which was refused" in work.status.message
    assert (tmp_path / "runs").read_text() == "x" * (1 + retries)
