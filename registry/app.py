"""The registry's HTTP application: routes into threads, and the status of each refusal. Never decides what is pinned.

What asks database or signer runs in a thread, where it may block; the event loop only takes requests in and hands
answers out. Nothing is validated or serialised by FastAPI: bodies and answers are bytes that `registry.messages` reads
and writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response

from registry import openapi
from registry.access.denied import DeniedError
from registry.access.guard import Heading
from registry.errors import NotSignedError, ReceiptUnavailableError, RefusedError
from registry.failures import STORE_FAILED
from registry.limits.body import MAX_BODY_BYTES, BodyLimit
from registry.limits.rates import Limits, RouteClass
from registry.limits.requests import AddressLimit, client_host, too_many
from registry.limits.shares import Shares
from registry.messages import error_answer
from registry.pins.reading import UntrustedError
from registry.pins.record import PinRecord
from registry.routes import ROUTES
from registry.routes.particle import with_particle
from registry.routes.route import Asked, Route, answered
from registry.services import Services
from registry.statuses import status_of
from registry.telemetry.watching import declared
from trust.codes import Code

_log = logging.getLogger(__name__)
_A_DAY_S = 86_400
_QUEUED_S = 8.0  # for a thread: who has waited longer is told so at once, as threads wait for a database that hangs
_THREADS = 40  # waiting ones cost little, and a silent signer holds each for as long as its time-out
_RELAYING = 128  # for steps of handshakes, which wait for seconds, and for nothing else
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Pool:
    """Threads, and how many of them one caller may have; None: as many as there are."""

    threads: Executor
    shares: Shares | None = None


class _BytesRoute(APIRoute):
    """A route whose function takes the request and gives the answer: nothing for FastAPI to convert or check."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function itself."""
        return self.endpoint


def create_app(services: Services) -> FastAPI:
    """The ASGI application. The interactive documentation stays out: it would load scripts from elsewhere."""
    app = FastAPI(
        title="keystation registry",
        version=services.status.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # `registry.openapi` serves it
        redirect_slashes=False,
    )
    app.router.route_class = _BytesRoute
    routes = ROUTES if services.particle is None else with_particle(ROUTES)
    larger = {each.path: each.max_body_bytes for each in routes if each.max_body_bytes > MAX_BODY_BYTES}
    app.add_middleware(BodyLimit, larger=larger)
    if services.limits is not None:
        secret = {each.path for each in routes if each.route_class is RouteClass.SECRET}
        signed = {each.path for each in routes if each.signer is not None}
        # The last one added is asked first.
        app.add_middleware(AddressLimit, limits=services.limits, secret=secret, signed=signed)
    threads = _Pool(ThreadPoolExecutor(_THREADS, thread_name_prefix="request"))
    relaying = _Pool(ThreadPoolExecutor(_RELAYING, thread_name_prefix="relay"), Shares(_RELAYING))
    for each in routes:
        pool = relaying if each.route_class is RouteClass.RELAY else threads
        app.add_api_route(
            each.path, _endpoint(each, services, pool), methods=[each.method],
            name=each.work.__name__, description=each.work.__doc__,
            openapi_extra=openapi.of(each), responses=openapi.answers(each),
        )  # fmt: skip
    _add_refusals(app)
    openapi.install(app, routes)
    return app


def _endpoint(route: Route, services: Services, pool: _Pool) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        asked = Asked(
            path=request.path_params, body=await request.body(), heading=_heading(request),
            content_type=request.headers.get("content-type", ""),
        )  # fmt: skip
        if route.at_once:
            return route.work(services, asked)
        host = client_host(request.scope)
        return await asyncio.get_running_loop().run_in_executor(
            pool.threads, _in_time, time.monotonic(), partial(_let_in, route, services, asked, host, pool.shares)
        )

    return endpoint


def _in_time(came: float, work: Callable[[], Response]) -> Response:
    if time.monotonic() - came > _QUEUED_S:
        _log.warning("a request waited too long for others to end")
        return answered(503, error_answer(Code.STORE_FAILED, "the registry is behind: send the same request again"))
    return work()


def _let_in(route: Route, services: Services, asked: Asked, host: str, shares: Shares | None) -> Response:
    """The route's answer to who may ask; DeniedError for who may not, and 429 for who asks too often."""
    limits, kind = services.limits, route.route_class
    if limits is not None and (wait_s := _wait_of_stranger(limits, route, services, asked, host)) > 0:
        return too_many(wait_s)
    admitted = services.guard.admit(route.access, asked.heading)
    if limits is not None and admitted.caller:
        limits.admitted.remember(asked.heading.authorization[0])
        if (wait_s := limits.caller(kind, admitted.caller.who)) > 0:
            return too_many(wait_s)
    response = _worked(route, services, replace(asked, caller=admitted.caller), shares)
    for name, value in admitted.headers:
        response.headers.append(name, value)
    return response


def _worked(route: Route, services: Services, asked: Asked, shares: Shares | None) -> Response:
    if shares is None or asked.caller is None:
        return route.work(services, asked)
    with shares.of(asked.caller.who) as let_in:
        return route.work(services, asked) if let_in else too_many(_AGAIN_S)


def _wait_of_stranger(limits: Limits, route: Route, services: Services, asked: Asked, host: str) -> float:
    wait_s = limits.stranger(route.route_class, host)
    if wait_s > 0 and route.signer is not None and (who := route.signer(services, asked)):
        return limits.caller(route.route_class, who)
    return wait_s


def _heading(request: Request) -> Heading:
    return Heading(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        authorization=tuple(request.headers.getlist("authorization")),
        dpop=tuple(request.headers.getlist("dpop")),
        address=client_host(request.scope),
    )


def _add_refusals(app: FastAPI) -> None:
    app.add_exception_handler(DeniedError, _denied)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(NotSignedError, _not_signed)
    app.add_exception_handler(ReceiptUnavailableError, _receipt_unavailable)
    app.add_exception_handler(UntrustedError, _untrusted)
    app.add_exception_handler(HTTPException, _no_route)
    for each in STORE_FAILED:
        app.add_exception_handler(each, _store_failed)
    app.add_exception_handler(Exception, _internal)


def _denied(_request: Request, error: Exception) -> Response:
    if not isinstance(error, DeniedError):
        raise error
    response = answered(error.status, error_answer(error.code, str(error)))
    for name, value in error.headers:
        response.headers.append(name, value)
    return response


def _refused(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    stored: PinRecord | None = error.stored
    response = answered(status_of(error.code), error_answer(error.code, str(error), stored))
    if error.code is Code.TOO_MANY_REQUESTS:  # a count of days, not of seconds as the limits'
        response.headers["retry-after"] = str(_A_DAY_S)
    return response


def _not_signed(_request: Request, error: Exception) -> Response:
    if not isinstance(error, NotSignedError):
        raise error
    return answered(status_of(error.code), error_answer(error.code, str(error)))


def _receipt_unavailable(_request: Request, error: Exception) -> Response:
    return answered(503, error_answer(Code.TOKEN_UNAVAILABLE, str(error)))


def _untrusted(_request: Request, error: Exception) -> Response:
    if not isinstance(error, UntrustedError):
        raise error
    _log.error("stored rows do not verify: station-registry check names them", extra={"part": error.tables})
    return answered(status_of(Code.RECORD_UNTRUSTED), error_answer(Code.RECORD_UNTRUSTED, error.told))


def _no_route(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    refusal = answered(error.status_code, error_answer(Code.NOT_FOUND, "no such route or method: see /openapi.json"))
    refusal.headers.update(error.headers or {})  # Allow, with 405
    return refusal


def _store_failed(_request: Request, error: Exception) -> Response:
    _log.error("the database failed", exc_info=error)
    text = "the registry's database failed: ask its operator, then send the same request again"
    return answered(503, error_answer(Code.STORE_FAILED, text))


def _internal(request: Request, error: Exception) -> Response:
    _log.error("a request failed: a bug", exc_info=error, extra={"route": declared(request.scope)})
    return answered(500, error_answer(Code.INTERNAL, "the registry has a bug here: its log says more"))
