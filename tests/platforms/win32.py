"""Plug-in for pytest: payloadfs sees Windows, as far as `tests.platforms.simulate` can do that."""

from tests.platforms.simulate import install, skip

install("win32")

SKIPPED = {
    "a backslash separates folders, and a drive is not a scheme": [
        "[file:///a\\\\b]",
        "[file:///a%5Cb]",
        "test_what_only_looks_like_a_url_is_not_a_folder[C:",
    ],
    "the mode of a file does not say who can read or write it, and there are no FIFOs": [
        "test_mode_is_always_0600",
        "test_only_a_private_regular_file_is_read",
        "test_which_files_are_trusted",
        "test_an_unchanged_file_is_not_read_again",
        "test_wrong_keys",
        "test_a_key_file_readable_by_others",
        "test_output_follows_links_and_keeps_the_mode",
        "test_a_file_that_others_can_write_is_not_believed",
    ],
    "a folder cannot be opened": ["test_a_named_file_must_be_readable[.", "test_the_default_file_must_be_readable"],
    "files are renamed, not linked": ["test_a_failed_write_leaves_nothing[link]"],
    "there is no cache": [
        "test_stronger_sources_win[cache]",
        "test_config.py::test_defaults",
        "test_a_relative_xdg_folder_is_ignored",
        "test_the_cache_follows_xdg",
        "test_problems_of_the_cache",
        "test_info_and_clear",
        "test_half_copies_in_the_cache",
    ],
    "there is no madvise": [
        "test_only_whole_pages_are_released",
        "test_a_slice_of_a_slice_releases_the_right_pages",
        "test_released_pages_of_a_file_are_read_again",
        "test_a_mapped_file_is_read_without_staying_in_memory",
    ],
    "only the worker process itself is killed": [
        "test_child_processes_of_a_call_end_with_it",
        "test_processes_end_with_their_parent[lambda: subprocess",
    ],
    "a call that holds the interpreter's lock outlives a parent that is killed": [
        "test_processes_end_with_their_parent[lambda: sum",
        "test_a_process_ends_with_its_parent_before_its_threads_run",
    ],
    "there is no fork": [
        "test_output_of_a_forked_child_does_not_disturb_the_connection",
        "test_the_kit_in_a_forked_child",
        "test_a_store_that_was_opened_before_a_fork",
        "test_callbacks_run_in_the_child_only",
        "test_a_forked_child_does_not_keep_the_lock",
    ],
    "the test patches the store of other platforms": [
        "test_a_store_that_fails_in_the_middle",
        "test_two_drivers_that_resume_at_the_same_time_write_different_checkpoints",
    ],
    "a signal while Python starts would stop the simulation": ["test_interrupted_while_worker_processes_start"],
    "the exit code of a process does not name a signal": ["test_a_killed_call_fails_and_the_others_continue"],
}


def pytest_collection_modifyitems(items):
    skip(items, SKIPPED)
