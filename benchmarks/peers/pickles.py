"""Libraries that pickle into a file."""

from __future__ import annotations

import os
import pickle
import shutil
from typing import Any

from ._base import Peer, Place


class Pickle(Peer):
    def save(self, obj: Any, number: int) -> str:
        path = self.path(number)
        with open(path, "wb") as file:
            pickle.dump(obj, file, protocol=5)
        return path

    def load(self, token: str) -> Any:
        with open(token, "rb") as file:
            return pickle.load(file)


class Cloudpickle(Peer):
    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import cloudpickle
        import fsspec

        self.dump, self.open = cloudpickle.dump, fsspec.open

    def save(self, obj: Any, number: int) -> str:
        path = self.path(number)
        with self.open(f"file://{path}", "wb") as file:
            self.dump(obj, file)
        return path

    def load(self, token: str) -> Any:
        with self.open(f"file://{token}", "rb") as file:
            return pickle.load(file)


class Joblib(Peer):
    mode: str | None = None

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        import joblib

        self.joblib = joblib

    def save(self, obj: Any, number: int) -> str:
        path = self.path(number)
        self.joblib.dump(obj, path)
        return path

    def load(self, token: str) -> Any:
        return self.joblib.load(token, mmap_mode=self.mode)


class JoblibMapped(Joblib):
    mode = "c"


class TwoCopies(Pickle):
    def save(self, obj: Any, number: int) -> str:
        own = super().save(obj, number)
        shared = f"{own}.shared"
        shutil.copyfile(own, shared)
        return shared

    def load(self, token: str) -> Any:
        fetched = f"{token}.{os.getpid()}"
        shutil.copyfile(token, fetched)
        try:
            return super().load(fetched)
        finally:
            os.unlink(fetched)

    def forget(self, token: str) -> None:
        os.unlink(token)
        os.unlink(token.removesuffix(".shared"))
