"""Values and callbacks after a fork."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from payloadfs._forks import PerProcess, on_fork


def exit_code_of_child(check):
    child = os.fork()
    if not child:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_creates_its_own_value():
    value = PerProcess(threading.Lock)
    lock = value[os.getpid()]
    assert value[os.getpid()] is lock
    with lock:
        assert exit_code_of_child(lambda: value[os.getpid()] is not lock and not value[os.getpid()].locked()) == 0
    assert value[os.getpid()] is lock


def test_all_threads_get_the_same_value():
    start = threading.Barrier(8)
    value = PerProcess(object)

    def get(_):
        start.wait()
        return value[os.getpid()]

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(get, range(8)))) == 1


def test_callbacks_run_in_the_child_only():
    calls = []
    on_fork(lambda: calls.append(os.getpid()))
    assert exit_code_of_child(lambda: calls == [os.getpid()]) == 0
    assert calls == []
