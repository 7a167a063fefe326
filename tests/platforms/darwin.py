"""Plug-in for pytest: payloadfs sees macOS, as far as `tests.platforms.simulate` can do that."""

from tests.platforms.simulate import install, skip

install("darwin")

SKIPPED = {
    "it has no posix_fallocate": ["fallocate]"],
    "a killed process leaves a temporary file, which gc removes": [
        "test_kill_9_leaves_no_incomplete_object",
        "test_kill_9_while_saving",
    ],
    "an object has a temporary name, too, which cannot be removed in this test": [
        "test_a_save_that_fails_after_the_link_leaves_nothing"
    ],
    "a call that holds the interpreter's lock outlives a parent that is killed": [
        "test_processes_end_with_their_parent[lambda: sum",
        "test_a_process_ends_with_its_parent_before_its_threads_run",
    ],
    "the cache does not know when the machine started, so copies are hashed on every load": [
        "test_wrong_data_is_detected_by_full_checks_or_if_others_could_write",
        "test_large_copies_are_mapped_and_data_is_not_hashed_again",
    ],
    "released pages stay until the system needs memory": [
        "test_only_whole_pages_are_released",
        "test_a_slice_of_a_slice_releases_the_right_pages",
        "test_released_pages_of_a_file_are_read_again",
        "test_a_mapped_file_is_read_without_staying_in_memory",
    ],
}


def pytest_collection_modifyitems(items):
    skip(items, SKIPPED)
