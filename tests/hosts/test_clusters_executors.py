"""Executors of other projects: six parallel works, of which one fails at first."""

import os

import pytest

from payloadfs import Payload
from payloadfs.works import App, Flow, Work


class Part(Work):
    def __init__(self, folder):
        super().__init__(parallel=True, retries=1, backoff=0)
        self.folder, self.data = str(folder), None

    def run(self, number):
        mark = os.path.join(self.folder, "failed")
        if number == 3 and not os.path.exists(mark):
            open(mark, "w").close()
            raise ValueError("at first")
        self.data = Payload([number] * 1000)


class Parts(Flow):
    def __init__(self, folder):
        super().__init__()
        self.parts = [Part(folder) for _ in range(6)]

    def run(self):
        for number, part in enumerate(self.parts):
            part.run(number)
        if all(part.has_succeeded for part in self.parts):
            self.stop()


def loky():
    return pytest.importorskip("loky").ProcessPoolExecutor(2)


def executorlib():
    return pytest.importorskip("executorlib").SingleNodeExecutor(max_workers=2)


def parsl():
    pytest.importorskip("parsl")
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors.threads import ThreadPoolExecutor

    return ParslPoolExecutor(Config(executors=[ThreadPoolExecutor(max_threads=2)], initialize_logging=False))


@pytest.mark.parametrize("create", [loky, executorlib, parsl])
def test_payloads_travel_and_failures_are_repeated(create, tmp_path):
    with create() as executor:
        app = App(Parts(tmp_path))
        app.run(executor=executor)
    assert app.stage == "finished"
    assert [part.data.value[0] for part in app.flow.parts] == list(range(6))
    assert app.flow.parts[3].status.attempts == 2


def test_ray(tmp_path, ray_cluster):
    """The executor of the how-to."""
    import concurrent.futures

    ray = ray_cluster

    class RayExecutor(concurrent.futures.Executor):
        def __init__(self, **options):
            self.options = options

        def submit(self, fn, /, *args, **kwargs):
            return ray.remote(fn).options(**self.options).remote(*args, **kwargs).future()

        def with_resources(self, resources):
            return RayExecutor(num_cpus=resources.get("cpus", 1), num_gpus=resources.get("gpu", 0))

    app = App(Parts(tmp_path))
    app.run(executor=RayExecutor(num_cpus=1))
    assert [part.data.value[0] for part in app.flow.parts] == list(range(6))
    assert app.flow.parts[3].status.attempts == 2
