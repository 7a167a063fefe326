"""SQLAlchemy with SQLite and PostgreSQL, and Django."""

import shutil
import subprocess

import pytest

from payloadfs import Payload


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path / "store"))


@pytest.fixture
def postgres(tmp_path, free_port):
    """Return the URL of a PostgreSQL server that is started for one test."""
    folders = sorted(shutil.os.listdir("/usr/lib/postgresql")) if shutil.os.path.isdir("/usr/lib/postgresql") else []
    if not folders:
        pytest.skip("needs postgresql")
    programs, data, port = f"/usr/lib/postgresql/{folders[-1]}/bin", tmp_path / "data", free_port()
    tmp_path.chmod(0o777)
    for parent in [tmp_path, *tmp_path.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    user = ["runuser", "-u", "postgres", "--"] if shutil.os.geteuid() == 0 else []
    subprocess.run(
        [*user, f"{programs}/initdb", "-D", data, "-U", "test", "-A", "trust"], check=True, capture_output=True
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    control = [*user, f"{programs}/pg_ctl", "-D", data, "-w", "-t", "300"]
    subprocess.run([*control, "-o", options, "-l", data / "log", "start"], check=True, capture_output=True)
    try:
        yield f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)


def _check_sqlalchemy(url):
    sa = pytest.importorskip("sqlalchemy")
    from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

    from payloadfs.integrations.sqlalchemy import PayloadType

    class Base(DeclarativeBase):
        pass

    class Run(Base):
        __tablename__ = "runs"
        id: Mapped[int] = mapped_column(primary_key=True)
        result: Mapped[Payload | None] = mapped_column(PayloadType)

    engine, statements = sa.create_engine(url), []
    sa.event.listen(
        engine, "before_cursor_execute", lambda c, cu, statement, p, ctx, many: statements.append(statement)
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Run(id=1, result=Payload([1] * 1000)), Run(id=2, result=None)])
        session.commit()
    with Session(engine) as session:
        run = session.get(Run, 1)
        assert run.result.value == [1] * 1000
        assert session.get(Run, 2).result is None
        assert session.scalars(sa.select(Run).where(Run.result.is_(None))).one().id == 2
        statements.clear()
        run.result = Payload.from_json(run.result.to_json())
        session.commit()
        assert not [statement for statement in statements if statement.startswith("UPDATE")]
        with pytest.raises(sa.exc.StatementError, match=r"Payload\(value\)"):
            session.execute(sa.insert(Run).values(id=3, result=[1]))
    engine.dispose()


def test_sqlalchemy_sqlite(tmp_path):
    _check_sqlalchemy(f"sqlite:///{tmp_path / 'db'}")


def test_sqlalchemy_postgres(postgres):
    pytest.importorskip("psycopg")
    _check_sqlalchemy(postgres)


MODELS = """
from django.db import models
from payloadfs.integrations.django import PayloadField

class Run(models.Model):
    result = PayloadField(null=True, blank=True)
"""


def test_django(tmp_path, monkeypatch):
    django = pytest.importorskip("django")
    from django.conf import settings

    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db")}
    settings.configure(DATABASES={"default": database}, INSTALLED_APPS=["experiments"])
    django.setup()
    from django.core import serializers
    from django.core.exceptions import ValidationError
    from django.db import connection
    from experiments.models import Run

    with connection.schema_editor() as editor:
        editor.create_model(Run)
    run = Run.objects.create(result=Payload([1] * 1000))
    Run.objects.create()
    read = Run.objects.get(pk=run.pk)
    assert read.result == run.result
    assert read.result.value == [1] * 1000
    assert Run.objects.filter(result__isnull=True).count() == 1
    read.full_clean()
    text = serializers.serialize("json", [read])
    assert next(serializers.deserialize("json", text)).object.result == run.result
    with pytest.raises(ValidationError, match="pointer"):
        Run(result={"a": 1}).full_clean()
