"""``python -m tests.platforms``: the main parts of the suite on simulated macOS and Windows."""

from __future__ import annotations

import subprocess
import sys

EVERYWHERE = """
    tests/platforms tests/test_atomic.py tests/test_forks.py tests/test_buffers.py tests/test_signing.py tests/test_config.py
    tests/test_urls.py tests/test_repository.py tests/test_payload.py tests/test_seal.py tests/test_packing.py
    tests/test_inline.py tests/test_aio.py tests/serializers/test_registry.py tests/stores/test_fsspec.py
    tests/cli/test_cli.py tests/cli/test_doctor.py tests/cli/test_inspect.py tests/cli/test_keys.py tests/cli/test_init.py
    tests/retention tests/works/test_local_executor.py tests/works/test_components.py
    tests/works/test_state.py tests/works/test_resume.py
"""
MODULES = {
    "darwin": EVERYWHERE
    + "tests/stores/test_local.py tests/stores/test_durability.py tests/stores/test_cache.py tests/crossprocess/test_kill.py",
    "win32": EVERYWHERE
    + "tests/stores/test_s3.py tests/stores/test_local.py::TestLocal tests/stores/test_local.py::TestMemory"
    # It forks writers, which share the event loop of obstore with their parent where there are no fork hooks.
    + " --ignore=tests/retention/test_kills.py",
}


def main() -> int:
    """Run the tests of each platform that is named, or of both."""
    failed = 0
    for platform in sys.argv[1:] or MODULES:
        print(f"== {platform}", flush=True)
        command = [sys.executable, "-m", "pytest", "-p", f"tests.platforms.{platform}", "-q", "-n", "2"]
        failed |= subprocess.run([*command, *MODULES[platform].split()], check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
