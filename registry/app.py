"""The registry's HTTP API: routes and the status of each refusal. Never decides what is pinned.

What asks database or signer runs in a thread, where it may block; the event loop only takes requests in and hands
answers out. Nothing is validated or serialised by FastAPI: bodies and answers are bytes that `registry.messages` reads
and writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from registry import openapi
from registry.errors import NotSignedError, ReceiptUnavailableError, RefusedError
from registry.leases.service import LeaseService
from registry.limits import BodyLimit
from registry.messages import (
    CompletionRequest,
    HistoryAnswer,
    LeaseAnswer,
    LeaseDemand,
    PinAnswer,
    PinRequest,
    StatusAnswer,
    error_answer,
    history_answer,
    lease_answer,
    pin_answer,
    read_device,
    read_envelope,
    read_request,
)
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from registry.signing import Signing
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
    Code.LEASE_CONFLICT: 409,
    Code.INTERNAL: 500,
    Code.STORE_FAILED: 503,
}
_REFUSED = 403
_THREADS = 40  # waiting ones cost little, and a silent signer holds each for as long as its time-out


class _BytesRoute(APIRoute):
    """A route whose function takes the request and gives the answer: nothing for FastAPI to convert or check."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The API's operations over one service."""

    service: PinService
    leases: LeaseService
    status: StatusAnswer
    signing: Signing | None
    threads: Executor

    async def put_pin(self, request: Request) -> Response:
        """Pin a device (provisional). The same statement again gives the same receipt."""
        return await self._in_thread(self._pin, request, await request.body())

    async def put_completion(self, request: Request) -> Response:
        """Make a pin active. The same completion again gives the same receipt."""
        return await self._in_thread(self._complete, request, await request.body())

    async def get_pin(self, request: Request) -> Response:
        """What the registry holds about a device, and how it came to be so."""
        return await self._in_thread(self._find, request)

    async def post_lease(self, request: Request) -> Response:
        """Grant a station's signer its next lease. The same request again gives the same lease."""
        body = await request.body()
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._lease, body)

    async def get_status(self, _request: Request) -> Response:
        """Which registry this is, of which environment and trust root, and whether it can sign receipts now."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._status)

    async def _in_thread(self, work: Callable[..., Response], request: Request, *more: bytes) -> Response:
        device = request.path_params["device_id"]
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, device, *more)

    def _pin(self, device_id: str, body: bytes) -> Response:
        device, request = read_device(device_id), read_request(body, PinRequest)
        statement, order = read_envelope(request.statement, "statement"), read_envelope(request.order, "order")
        return _json(200, pin_answer(self.service.pin(device, statement, order)))

    def _complete(self, device_id: str, body: bytes) -> Response:
        device, request = read_device(device_id), read_request(body, CompletionRequest)
        completion = read_envelope(request.completion, "completion")
        return _json(200, pin_answer(self.service.complete(device, completion)))

    def _lease(self, body: bytes) -> Response:
        asked = read_envelope(read_request(body, LeaseDemand).request, "request")
        return _json(200, lease_answer(self.leases.grant(asked)))

    def _status(self) -> Response:
        trouble = "" if self.signing is None else self.signing.trouble()
        return _json(200, msgspec.json.encode(msgspec.structs.replace(self.status, trouble=trouble)))

    def _find(self, device_id: str) -> Response:
        device = read_device(device_id)
        record = self.service.find(device)
        if record is None:
            return _json(404, error_answer(Code.NOT_PINNED, f"device {device} has no pin"))
        return _json(200, history_answer(record))


def create_app(
    service: PinService, leases: LeaseService, status: StatusAnswer, signing: Signing | None = None
) -> FastAPI:
    """The ASGI application. The interactive documentation stays out: it would load scripts from elsewhere."""
    app = FastAPI(
        title="keystation registry", version=status.version, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.router.route_class = _BytesRoute
    app.add_middleware(BodyLimit)
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="request")
    _add_routes(app, Routes(service=service, leases=leases, status=status, signing=signing, threads=threads))
    _add_refusals(app)
    openapi.install(app)
    return app


def _add_routes(app: FastAPI, routes: Routes) -> None:
    app.add_api_route(
        "/v1/pins/{device_id}", routes.put_pin, methods=["PUT"],
        openapi_extra=openapi.of_device(PinRequest),
        responses=openapi.answers(PinAnswer, 400, 403, 409, 413, 422),
    )  # fmt: skip
    app.add_api_route(
        "/v1/pins/{device_id}/completion", routes.put_completion, methods=["PUT"],
        openapi_extra=openapi.of_device(CompletionRequest),
        responses=openapi.answers(PinAnswer, 400, 403, 409, 413, 422),
    )  # fmt: skip
    app.add_api_route(
        "/v1/pins/{device_id}", routes.get_pin, openapi_extra=openapi.of_device(),
        responses=openapi.answers(HistoryAnswer, 400, 404),
    )  # fmt: skip
    app.add_api_route(
        "/v1/leases", routes.post_lease, methods=["POST"], openapi_extra=openapi.with_body(LeaseDemand),
        responses=openapi.answers(LeaseAnswer, 400, 403, 409, 413),
    )  # fmt: skip
    app.add_api_route("/v1/status", routes.get_status, responses=openapi.answers(StatusAnswer))


def _add_refusals(app: FastAPI) -> None:
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(NotSignedError, _not_signed)
    app.add_exception_handler(ReceiptUnavailableError, _receipt_unavailable)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(DBAPIError, _store_failed)
    app.add_exception_handler(Exception, _internal)


def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    stored: PinRecord | None = error.stored
    return _json(_STATUS.get(error.code, _REFUSED), error_answer(error.code, str(error), stored))


def _not_signed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, NotSignedError):
        raise error
    return _json(_STATUS.get(error.code, _REFUSED), error_answer(error.code, str(error)))


def _receipt_unavailable(_request: Request, error: Exception) -> Response:
    return _json(503, error_answer(Code.TOKEN_UNAVAILABLE, str(error)))


def _no_route(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return _json(status, error_answer(Code.NOT_FOUND, "no such route or method: see /openapi.json"))


def _store_failed(_request: Request, error: Exception) -> Response:
    _log.error("database failed: %s", error, exc_info=error)
    text = "the registry's database failed: ask its operator, then send the same request again"
    return _json(503, error_answer(Code.STORE_FAILED, text))


def _internal(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed: a bug", request.method, request.url.path, exc_info=error)
    return _json(500, error_answer(Code.INTERNAL, "the registry has a bug here: its log says more"))


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, media_type="application/json")
