"""Celery and kombu: payloads as arguments and results, or any object by one setting.

With Celery's JSON, call `register`, and payloads pass as they are. With the serializer ``"payloadfs"``, tasks take
and return any object::

    app.conf.update(task_serializer="payloadfs", result_serializer="payloadfs", accept_content=["payloadfs", "json"])
"""

from __future__ import annotations

import json
from typing import Any

from celery.canvas import Signature
from kombu import serialization
from kombu.utils import json as kombu_json

from .. import Payload, Pointer, pack, unpack

__all__ = ["register"]


def register(*, prefix: str = "celery") -> None:
    """Teach kombu's JSON about payloads and pointers, and register the serializer ``"payloadfs"``.

    Call it where the app is defined, so that it runs in workers and in clients.

    Parameters
    ----------
    prefix : str
        First part of the keys of the objects that the serializer stores; see `payloadfs.save`.

    Notes
    -----
    Cost: a message whose arguments are small plain data needs no request. Everything else costs one save where the
    task is called, and one load in the worker. Arguments arrive as a list, as with Celery's JSON.
    """
    kombu_json.register_type(Payload, "payloadfs.Payload", Payload.to_dict, Payload.from_dict)
    kombu_json.register_type(Pointer, "payloadfs.Pointer", Pointer.to_dict, Pointer.from_dict)
    serialization.register(
        "payloadfs",
        lambda message: json.dumps(pack(_plain(message), prefix=prefix)),
        lambda text: unpack(json.loads(text)),
        content_type="application/x-payloadfs",
        content_encoding="utf-8",
    )


def _plain(message: Any) -> Any:
    """Return a message in which Celery's own containers, but not the user's, are those of JSON."""
    if isinstance(message, tuple) and len(message) == 3:
        args, kwargs, embedded = message
        return [[_plain_signatures(arg) for arg in args], _plain_signatures(dict(kwargs)), _through_json(embedded)]
    return message


def _plain_signatures(value: Any) -> Any:
    """Return `value` with plain dicts in place of signatures, such as the tasks of a chord."""
    if isinstance(value, Signature):
        return _through_json(value)
    if type(value) is list:
        return [_plain_signatures(item) for item in value]
    if type(value) is dict:
        return {key: _plain_signatures(item) for key, item in value.items()}
    return value


def _through_json(value: Any) -> Any:
    return json.loads(kombu_json.dumps(value))
