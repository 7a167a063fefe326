"""The local executor is a complete `concurrent.futures.Executor`."""

import concurrent.futures as futures
import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from payloadfs import ConfigError, WorkError
from payloadfs.works import LocalExecutor


@pytest.fixture
def pool():
    with LocalExecutor(2) as one:
        yield one


def add(a, b=0, *, c=0):
    return a + b + c


def nap(seconds, result=None):
    time.sleep(seconds)
    return result


def wait_for_file(path, result=None):
    while not os.path.exists(path):
        time.sleep(0.01)
    return result


def fail(message):
    raise LookupError(message)


class Awkward(Exception):
    """An exception that can be pickled, but not unpickled."""

    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return type(self) is type(other) and self.x == other.x

    __hash__ = None


def processes_of(pool):
    return [worker._process for worker in pool._workers]


def test_submit_and_map(pool):
    assert pool.submit(add, 1, b=2, c=3).result() == 6
    assert list(pool.map(add, range(50), range(50))) == [2 * n for n in range(50)]
    assert pool.submit(lambda: os.getpid()).result() in [process.pid for process in processes_of(pool)]


def test_exceptions_come_back_with_their_traceback(pool):
    future = pool.submit(fail, "lost")
    assert isinstance(future.exception(), LookupError)
    assert "in fail" in "".join(future.exception().__notes__)
    with pytest.raises(LookupError, match="lost"):
        future.result()
    with pytest.raises(RuntimeError, match="Awkward: a and b"):
        pool.submit(lambda: (_ for _ in ()).throw(Awkward("a", "b"))).result()
    with pytest.raises(SystemExit):
        pool.submit(sys.exit, 3).result()


def test_values_that_cannot_be_pickled_raise(pool):
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(add, threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(lambda: __import__("threading").Lock()).result()
    assert pool.submit(add, 1).result() == 1


def test_a_result_that_cannot_be_unpickled_raises(pool):
    class Trap:
        def __reduce__(self):
            return int, ("not a number",)

    with pytest.raises(ValueError, match="not a number"):
        pool.submit(lambda: Trap()).result()
    assert pool.submit(add, 1).result() == 1


def test_classes_of_the_program_keep_their_identity(pool):
    assert pool.submit(lambda: Point(3)).result() == Point(3)


def test_large_arguments_and_results(pool):
    data = os.urandom(1 << 20) * 64
    assert pool.submit(lambda content: content[::-1], data).result() == data[::-1]


def test_callbacks_wait_and_as_completed(pool, tmp_path):
    results = []
    slow, fast = pool.submit(wait_for_file, tmp_path / "gate", "slow"), pool.submit(nap, 0, "fast")
    slow.add_done_callback(lambda future: results.append(future.result()))
    completed = futures.as_completed([slow, fast], timeout=60)
    assert next(completed).result() == "fast"
    (tmp_path / "gate").touch()
    assert next(completed).result() == "slow"
    assert futures.wait([slow, fast], timeout=60).not_done == set()
    assert results == ["slow"]


def test_cancel(pool, tmp_path):
    running = [pool.submit(wait_for_file, tmp_path / "gate") for _ in range(2)]
    waiting = pool.submit(nap, 0)
    while not all(future.running() for future in running):
        time.sleep(0.01)
    assert not running[0].cancel()
    assert waiting.cancel()
    (tmp_path / "gate").touch()
    assert futures.wait([*running, waiting], timeout=60).not_done == set()
    assert pool.submit(add, 1).result() == 1


def test_shutdown_waits_for_all_calls():
    pool = LocalExecutor(1)
    calls = [pool.submit(nap, 0.05, n) for n in range(4)]
    pool.shutdown()
    assert [call.result(0) for call in calls] == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(add, 1)
    pool.shutdown()


def test_shutdown_can_cancel_waiting_calls(tmp_path):
    pool = LocalExecutor(1)
    calls = [pool.submit(wait_for_file, tmp_path / "gate", n) for n in range(4)]
    while not calls[0].running():
        time.sleep(0.01)
    pool.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "gate").touch()
    pool.shutdown()
    assert calls[0].result(0) == 0
    assert [call.cancelled() for call in calls[1:]] == [True] * 3
    assert futures.wait(calls, timeout=60).not_done == set()


def test_kill_workers_stops_all_calls():
    pool = LocalExecutor(2)
    calls = [pool.submit(nap, 600) for _ in range(4)]
    while not calls[0].running():
        time.sleep(0.01)
    processes = processes_of(pool)
    pool.kill_workers()
    assert futures.wait(calls, timeout=60).not_done == set()
    assert isinstance(calls[0].exception(), WorkError)
    assert calls[3].cancelled()
    assert all(process.returncode is not None for process in processes)


def test_a_killed_call_fails_and_the_others_continue(pool):
    victim, other = pool.submit(nap, 600), pool.submit(nap, 0.2, "well")
    while not victim.running():
        time.sleep(0.01)
    pool.kill(victim)
    with pytest.raises((WorkError, SystemExit), match="SIGTERM"):
        victim.result(60)
    assert other.result(60) == "well"
    assert sorted(pool.map(add, range(8))) == list(range(8))


def test_killing_a_call_as_it_ends_affects_no_other(pool):
    for _ in range(30):
        one = pool.submit(add, 1)
        later = [pool.submit(nap, 0, n) for n in range(3)]
        pool.kill(one)
        assert [call.result(60) for call in later] == [0, 1, 2]


def test_an_idle_process_that_was_killed_is_replaced(pool):
    for _ in range(4):
        assert pool.submit(add, 1).result(60) == 1
        for process in processes_of(pool):
            process.send_signal(signal.SIGKILL)
        assert list(pool.map(add, range(4))) == [0, 1, 2, 3]


def test_processes_that_cannot_start(monkeypatch):
    with LocalExecutor(1) as pool:
        monkeypatch.setattr("payloadfs.works._local_executor._PROGRAM", "import sys; sys.exit(7)")
        processes_of(pool)[0].kill()
        with pytest.raises(WorkError, match="ended before the call began, with exit code 7"):
            pool.submit(add, 1).result(60)
        monkeypatch.setattr("payloadfs.works._local_executor.sys.executable", "/no/such/python")
        with pytest.raises(OSError, match="No such file"):
            pool.submit(add, 1).result(60)
        monkeypatch.undo()
        assert pool.submit(add, 1).result(60) == 1


def test_two_hundred_calls_leave_nothing_behind():
    def open_files():
        return len(os.listdir("/proc/self/fd"))

    def children():
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return file.read().split()

    gc.collect()  # so that leftovers of earlier tests do not disappear during this one
    files, before, threads = open_files(), children(), threading.active_count()
    with LocalExecutor(2) as pool:
        for n in range(20):
            assert len(list(pool.map(add, range(10)))) == 10
            if n % 5 == 0:
                with pytest.raises(WorkError):
                    pool.submit(os._exit, 1).result()
    assert (open_files(), children(), threading.active_count()) == (files, before, threads)


def test_an_unreferenced_executor_ends():
    pool = LocalExecutor(1)
    process, thread = processes_of(pool)[0], pool._workers[0]._thread
    del pool
    gc.collect()
    thread.join(60)
    assert process.returncode == 0


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_ended(pids):
    """Wait until the processes have ended. pytest's own limit ends a test in which one does not."""
    while any(map(is_alive, pids)):
        time.sleep(0.01)


@pytest.mark.parametrize("way", ["subprocess", "fork", "system"])
def test_child_processes_of_a_call_end_with_it(pool, tmp_path, way):
    def start(path):
        if way == "subprocess":
            pid = subprocess.Popen(["sleep", "600"]).pid
        elif way == "fork":
            pid = os.fork()
            if pid == 0:
                time.sleep(600)
        else:
            os.system(f"sleep 600 & echo $! > {path}.tmp")
            with open(f"{path}.tmp") as file:
                pid = int(file.read())
        with open(f"{path}.tmp", "w") as file:
            file.write(str(pid))
        os.rename(f"{path}.tmp", path)
        time.sleep(600)

    path = tmp_path / "pid"
    call = pool.submit(start, str(path))
    while not path.exists():
        assert not call.done(), call.exception()
        time.sleep(0.01)
    (worker,) = [worker._process for worker in pool._workers if worker._running is call]
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkError, match="SIGKILL"):
        call.result(60)
    wait_until_ended([int(path.read_text())])


def test_output_of_a_forked_child_does_not_disturb_the_connection(pool):
    def fork():
        import multiprocessing

        child = multiprocessing.get_context("fork").Process(target=lambda: print("from the child", flush=True))
        child.start()
        child.join()
        return child.exitcode

    assert [pool.submit(fork).result(60) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    "what", ["lambda: time.sleep(600)", "lambda: sum(range(10**12))", "lambda: subprocess.run(['sleep', '600'])"]
)
def test_processes_end_with_their_parent(what):
    """Even if a call holds the GIL for minutes, or waits for a child process."""
    program = (
        "import subprocess, time\nfrom payloadfs.works import LocalExecutor\n"
        f"pool = LocalExecutor(1); call = pool.submit({what})\n"
        "while not call.running(): time.sleep(0.01)\n"
        "time.sleep(0.5); print(pool._workers[0]._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    with open(f"/proc/{worker}/task/{worker}/children") as file:
        pids = [worker, *map(int, file.read().split())]
    parent.kill()
    parent.communicate()
    wait_until_ended(pids)


def test_a_call_that_is_killed_while_its_process_starts():
    with LocalExecutor(1) as pool:
        call = pool.submit(nap, 600)
        while not call.running():
            time.sleep(0.001)
        pool.kill(call)
        with pytest.raises((WorkError, SystemExit), match="SIGTERM"):
            call.result(60)
        assert pool.submit(nap, 0, "well").result(60) == "well"


@pytest.mark.parametrize("closes", ["first", "later"])
def test_a_process_ends_with_its_parent_before_its_threads_run(closes):
    """A call that holds the GIL may begin before a thread has run."""
    program = (
        "import os, signal, sys, threading, time\nfrom payloadfs.works import _worker_process\n"
        "threading.Thread.start = lambda self: None\nos.setpgrp()\n"
        "reader, writer = os.pipe(); other, _ = os.pipe()\n"
        "if sys.argv[1] == 'first': os.close(writer)\n"
        "_worker_process._set_up(other, reader)\n"
        "if sys.argv[1] == 'later': os.close(writer)\n"
        "sum(range(10**12))"
    )
    done = subprocess.run([sys.executable, "-c", program, closes], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_output_that_cannot_be_printed_fails_only_its_call():
    def broken(work, stream, text):
        raise BrokenPipeError("closed")

    with LocalExecutor(1, on_output=broken) as pool:
        with pytest.raises(WorkError, match="cannot be printed: BrokenPipeError: closed"):
            pool.submit(_print_by_line).result(60)
        assert pool.submit(add, 1).result(60) == 1


def _print_by_line():
    from payloadfs.works import _worker_process
    from payloadfs.works._capture import capture_output

    with capture_output(functools.partial(_worker_process.output, "root")):
        print("text")
        time.sleep(600)


def test_a_call_can_close_the_streams(pool):
    def close():
        sys.stdout.close()
        sys.stderr = None

    for _ in range(2):
        pool.submit(close).result(60)
    assert list(pool.map(add, range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_must_be_positive(number):
    with pytest.raises(ConfigError, match="max_workers"):
        LocalExecutor(number)


def test_by_default_one_process_for_each_available_core(monkeypatch):
    monkeypatch.setattr("payloadfs.works._local_executor.available_cores", lambda: 3)
    with LocalExecutor() as pool:
        assert len(processes_of(pool)) == 3
