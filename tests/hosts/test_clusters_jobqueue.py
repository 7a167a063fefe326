"""dask-jobqueue: works in the jobs of a batch system. Its local mode starts the jobs on this machine."""

import os
import signal
import sys

import cloudpickle
import pytest

from payloadfs import Payload
from payloadfs.works import App, Flow, Work

dask_jobqueue = pytest.importorskip("dask_jobqueue")


@pytest.fixture(autouse=True)
def by_value():
    """Jobs cannot import this file."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class Part(Work):
    """The fourth kills its job in its first attempt, as a node that fails."""

    def __init__(self, folder, retries):
        super().__init__(parallel=True, raise_exception=False, retries=retries, backoff=0)
        self.folder, self.data = str(folder), None

    def run(self, number):
        mark = os.path.join(self.folder, "died")
        if number == 3 and not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getppid(), signal.SIGKILL)  # otherwise it starts another worker
            os.kill(os.getpid(), signal.SIGKILL)
        self.data = Payload([number] * 1000)


class Parts(Flow):
    def __init__(self, folder, retries):
        super().__init__()
        self.parts = [Part(folder, retries) for _ in range(6)]

    def run(self):
        for number, part in enumerate(self.parts):
            if not part.has_started:
                part.run(number)
        if not any(part.is_running for part in self.parts):
            self.stop()


@pytest.mark.parametrize("retries", [0, 1])
def test_a_lost_job_fails_its_attempt(tmp_path, retries):
    from dask_jobqueue.local import LocalCluster
    from distributed import Client

    options = {"cores": 1, "processes": 1, "memory": "1 GB", "log_directory": str(tmp_path)}
    with (
        LocalCluster(**options, scheduler_options={"dashboard_address": None}) as cluster,
        Client(cluster) as client,
    ):
        cluster.scale(jobs=2)
        client.wait_for_workers(2)
        app = App(Parts(tmp_path, retries))
        app.run(store=str(tmp_path / "store"), executor=client)
    parts = app.flow.parts
    assert parts[3].status.attempts == 1 + retries
    assert parts[3].has_succeeded == bool(retries)
    for number, part in enumerate(parts):
        if part.has_succeeded:
            assert part.data.value[0] == number
        else:  # the fourth, or one whose result was still in the job
            assert not retries
            assert "The executor lost the process that ran it" in part.status.message


def test_a_job_of_slurm_gets_the_key(tmp_path):
    """The script that Slurm would run, as the how-to writes it."""
    prologue = ["export PAYLOADFS_KEYS_FILE=$HOME/.config/payloadfs/keys"]
    options = {"cores": 8, "processes": 4, "memory": "32 GB", "walltime": "02:00:00", "queue": "short"}
    cluster = dask_jobqueue.SLURMCluster(
        **options, job_script_prologue=prologue, scheduler_options={"dashboard_address": None}
    )
    with cluster:
        lines = cluster.job_script().splitlines()
    assert "#SBATCH -p short" in lines
    assert lines.index(prologue[0]) < next(pos for pos, line in enumerate(lines) if "dask_worker" in line)
