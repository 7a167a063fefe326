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
        "test_a_file_that_others_can_write_is_not_believed",
    ],
    "a folder cannot be opened": ["test_a_named_file_must_be_readable[.", "test_the_default_file_must_be_readable"],
    "files are renamed, not linked": ["test_a_failed_write_leaves_nothing[link]"],
    "there is no cache": [
        "test_stronger_sources_win[cache]",
        "test_config.py::test_defaults",
        "test_a_relative_xdg_folder_is_ignored",
        "test_the_cache_follows_xdg",
    ],
    "there is no madvise": [
        "test_only_whole_pages_are_released",
        "test_a_slice_of_a_slice_releases_the_right_pages",
        "test_released_pages_of_a_file_are_read_again",
        "test_a_mapped_file_is_read_without_staying_in_memory",
    ],
    "there is no fork": ["test_callbacks_run_in_the_child_only", "test_a_forked_child_does_not_keep_the_lock"],
}


def pytest_collection_modifyitems(items):
    skip(items, SKIPPED)
