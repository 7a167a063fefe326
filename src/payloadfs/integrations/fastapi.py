"""FastAPI and Starlette: HTTP responses for pointers that cannot be loaded.

``Payload[T]`` and ``Pointer`` can be fields of pydantic models without this module, and FastAPI answers 422 to a
malformed pointer. A pointer with a wrong signature is only noticed when its object is loaded.
"""

from __future__ import annotations

from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from .. import ExpiredError, NotFoundError, PayloadError, PointerError, PolicyError, SignatureError

__all__ = ["add_exception_handlers"]

_STATUS = {SignatureError: 403, PointerError: 422, ExpiredError: 410, PolicyError: 403, NotFoundError: 404}


def add_exception_handlers(app: Starlette) -> None:
    """Answer requests whose pointer cannot be loaded with 403, 404, 410 or 422, and the reason as JSON.

    403 is for a signature or a policy, 404 for an object that does not exist, 410 for an object that expired. All other
    errors, such as those of the store, remain server errors.
    """
    for error, status in _STATUS.items():
        app.add_exception_handler(error, partial(_answer, status))


def _answer(status: int, request: Request, error: PayloadError) -> JSONResponse:  # noqa: ARG001
    return JSONResponse({"detail": error.message, "kind": error.kind}, status_code=status)
