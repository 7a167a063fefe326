"""BLAKE3's own threads do not survive a fork; a child must not wait for them."""

import os
import signal

from payloadfs._digest import digest_of

LARGE = bytes(8 * 1024 * 1024)


def test_a_forked_child_hashes_large_pieces():
    expected = digest_of([LARGE], "b3")
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            os._exit(0 if digest_of([LARGE], "b3") == expected else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
