"""A Celery app whose tasks take and return any object."""

import os

import pandas as pd
from celery import Celery, chord, group

from payloadfs import Payload
from payloadfs.integrations.celery import register

register()
app = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(
    task_serializer=os.environ["SERIALIZER"],
    result_serializer=os.environ["SERIALIZER"],
    accept_content=["payloadfs", "json"],
)


@app.task
def frame(rows):
    return pd.DataFrame({"a": range(rows)})


@app.task
def double(frame, *, by=2):
    return frame * by


@app.task
def both(frames):
    return {"frames": frames, "pair": (1, len(frames))}


@app.task
def fail(value):
    raise ValueError(f"bad {value}")


@app.task
def frame_payload(rows):
    return Payload(pd.DataFrame({"a": range(rows)}))


@app.task
def total(payload):
    return int(payload.value.a.sum())


def fan_out():
    return chord([frame.s(2), frame.s(3)])(both.s())


__all__ = ["Payload", "app", "both", "double", "fail", "fan_out", "frame", "frame_payload", "group", "total"]
