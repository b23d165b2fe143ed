"""The registry's HTTP API: routes and the status of each refusal. Never decides what is pinned.

Routes are plain functions, so FastAPI runs each in a thread; database and signer may block there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from registry import openapi
from registry.limits import BodyLimit
from registry.messages import (
    CompletionRequest,
    HistoryAnswer,
    PinAnswer,
    PinRequest,
    StatusAnswer,
    error_answer,
    history_answer,
    pin_answer,
    read_device,
    read_envelope,
    read_request,
)
from registry.pins.errors import ReceiptUnavailableError, RefusedError
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from trust.codes import Code

_log = logging.getLogger(__name__)
_STATUS = {
    Code.MALFORMED: 400,
    Code.NOT_FOUND: 404,
    Code.TOO_LARGE: 413,
    Code.JOB_BYTES_DIFFER: 422,
    Code.DEVICE_HAS_OTHER_KEY: 409,
    Code.KEY_ON_OTHER_DEVICE: 409,
    Code.PINNED_UNDER_OTHER_JOB: 409,
    Code.NOT_PINNED: 409,
}
_REFUSED = 403


async def _body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_body)]


@dataclass(frozen=True, slots=True)
class Routes:
    """The API's operations over one service."""

    service: PinService
    status: StatusAnswer

    def put_pin(self, device_id: str, body: Body) -> Response:
        """Pin a device (provisional). The same statement again gives the same receipt."""
        device, request = read_device(device_id), read_request(body, PinRequest)
        statement, order = read_envelope(request.statement, "statement"), read_envelope(request.order, "order")
        return _json(200, pin_answer(self.service.pin(device, statement, order)))

    def put_completion(self, device_id: str, body: Body) -> Response:
        """Make a pin active. The same completion again gives the same receipt."""
        device, request = read_device(device_id), read_request(body, CompletionRequest)
        completion = read_envelope(request.completion, "completion")
        return _json(200, pin_answer(self.service.complete(device, completion)))

    def get_pin(self, device_id: str) -> Response:
        """What the registry holds about a device, and how it came to be so."""
        device = read_device(device_id)
        record = self.service.find(device)
        if record is None:
            return _json(404, error_answer(Code.NOT_PINNED, f"device {device} has no pin"))
        return _json(200, history_answer(record))

    def get_status(self) -> Response:
        """Which registry this is, of which environment and trust root."""
        return _json(200, msgspec.json.encode(self.status))


def create_app(service: PinService, status: StatusAnswer) -> FastAPI:
    """The ASGI application. The interactive documentation stays out: it would load scripts from elsewhere."""
    app = FastAPI(
        title="keystation registry", version=status.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.add_middleware(BodyLimit)
    _add_routes(app, Routes(service, status))
    _add_refusals(app)
    openapi.install(app)
    return app


def _add_routes(app: FastAPI, routes: Routes) -> None:
    app.add_api_route(
        "/v1/pins/{device_id}", routes.put_pin, methods=["PUT"], openapi_extra=openapi.takes(PinRequest),
        responses=openapi.answers(PinAnswer, 400, 403, 409, 413, 422),
    )  # fmt: skip
    app.add_api_route(
        "/v1/pins/{device_id}/completion", routes.put_completion, methods=["PUT"],
        openapi_extra=openapi.takes(CompletionRequest),
        responses=openapi.answers(PinAnswer, 400, 403, 409, 413, 422),
    )  # fmt: skip
    app.add_api_route("/v1/pins/{device_id}", routes.get_pin, responses=openapi.answers(HistoryAnswer, 400, 404))
    app.add_api_route("/v1/status", routes.get_status, responses=openapi.answers(StatusAnswer))


def _add_refusals(app: FastAPI) -> None:
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(ReceiptUnavailableError, _receipt_unavailable)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(DBAPIError, _store_failed)
    app.add_exception_handler(Exception, _internal)


def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    stored: PinRecord | None = error.stored
    return _json(_STATUS.get(error.code, _REFUSED), error_answer(error.code, str(error), stored))


def _receipt_unavailable(_request: Request, error: Exception) -> Response:
    return _json(503, error_answer(Code.TOKEN_UNAVAILABLE, str(error)))


def _no_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _json(status, error_answer(Code.NOT_FOUND, "no such route or method: see /openapi.json"))


def _not_understood(_request: Request, _error: Exception) -> Response:
    return _json(400, error_answer(Code.MALFORMED, "the request cannot be read: see /openapi.json"))


def _store_failed(_request: Request, error: Exception) -> Response:
    _log.error("database failed: %s", error, exc_info=error)
    text = "the registry's database failed: ask its operator, then send the same request again"
    return _json(503, error_answer(Code.STORE_FAILED, text))


def _internal(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed: a bug", request.method, request.url.path, exc_info=error)
    return _json(500, error_answer(Code.INTERNAL, "the registry has a bug here: its log says more"))


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
