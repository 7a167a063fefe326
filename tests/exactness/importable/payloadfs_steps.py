"""Classes of a user's project: most are registered, as the documentation advises, and some are not."""

import dataclasses
import datetime as dt
import enum
import typing

import attrs
import msgspec
import pydantic

from payloadfs import register_class


@register_class(name="shop.Status")
class Status(enum.Enum):
    NEW = "new"
    PAID = "paid"


@register_class(name="shop.Level")
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@register_class(name="shop.Order")
@dataclasses.dataclass
class Order:
    number: int
    status: Status
    lines: list
    placed: dt.datetime


@register_class(name="shop.TrainConfig")
@dataclasses.dataclass(frozen=True)
class TrainConfig:
    learning_rate: float = 0.01
    layers: tuple = (64, 32)
    seed: int = 42


@register_class(name="shop.Split")
class Split(typing.NamedTuple):
    train: object
    test: object


@register_class(name="shop.Metrics")
@attrs.define
class Metrics:
    accuracy: float
    by_class: dict


@register_class(name="shop.Event")
class Event(msgspec.Struct):
    name: str
    at: dt.datetime
    payload: dict


@register_class(name="shop.User")
class User(pydantic.BaseModel):
    id: int
    name: str
    signed_up: dt.date
    tags: list[str] = []


@dataclasses.dataclass
class Report:
    """Not registered."""

    title: str
    rows: list


class Counter:
    """Not registered, and no dataclass."""

    def __init__(self, total):
        self.total = total
