"""Models of the corpus, in a separate module, because pydantic is optional."""

from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr


class Address(BaseModel):
    street: str
    zip: int | None = None


class Person(BaseModel):
    name: str
    tags: list[str] = []
    home: Address | None = None
    _secret: Any = PrivateAttr(default=None)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)
    n: int
