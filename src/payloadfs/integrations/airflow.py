"""Airflow 3: an XCom backend, so that tasks return and take any object and the database holds pointers.

::

    AIRFLOW__CORE__XCOM_BACKEND=payloadfs.integrations.airflow.PayloadXComBackend
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.bases.xcom import BaseXCom

from .. import default_repository, pack, unpack
from .._packing import template_of

__all__ = ["PayloadXComBackend"]


class PayloadXComBackend(BaseXCom):
    """XCom backend: JSON in which objects are pointers. Small plain values are stored as Airflow does.

    Objects have the prefix ``airflow/DAG/RUN/TASK``. If Airflow deletes an XCom, as it does when a task is cleared and
    runs again, its objects are deleted as well.
    """

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Return `value` as JSON values."""
        parts = [part.replace("/", "-") for part in (dag_id, run_id, task_id) if part]
        return pack(value, prefix="/".join(["airflow", *parts]))

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Return the value of an XCom from the database."""
        return unpack(result.value)

    @classmethod
    def purge(cls, xcom: Any, *args: Any) -> None:
        """Delete the objects of an XCom that is deleted."""
        for pointer in template_of(xcom.value)[1]:
            default_repository().delete(pointer)
