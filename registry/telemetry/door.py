"""What is answered beside the API: `/metrics`, `/livez`, `/readyz` on an address of its own, and the last two anywhere.

Answered by the event loop, whatever the routes' threads wait for. `/metrics` never on the API's address: it is for
those who run the registry. Never anything of a device, a station or a person.
"""

from __future__ import annotations

from typing import Protocol

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from registry.messages import error_answer, health_answer
from registry.statuses import later
from registry.telemetry.health import Health
from registry.telemetry.metrics import CONTENT_TYPE
from trust.codes import Code

_REMEDY = {
    "database": "the database takes no write, or is not of this version: its operator's log says more",
    "signer": "the signer does not answer or cannot sign: its operator's log says more",
}


class Numbers(Protocol):
    """What one process counts."""

    def text(self) -> bytes:
        """All of it as Prometheus reads it."""


def live() -> Response:
    """The process answers: that is all."""
    return _json(200, health_answer("live"))


def ready(health: Health | None) -> Response:
    """Whether a pin could be taken now; 503 says which part is not well. Without `health` nobody has looked."""
    wrong = None if health is None else health.wrong()
    if wrong is None:
        return _json(200, health_answer("ready"))
    name, code = wrong
    return _json(503, error_answer(code, _REMEDY[name]))


def telemetry_app(metrics: Numbers, health: Health | None) -> ASGIApp:
    """The application of the telemetry's own address."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await _answer(scope["method"], scope["path"], metrics, health)(scope, receive, send)

    return app


def _answer(method: str, path: str, metrics: Numbers, health: Health | None) -> Response:
    if method != "GET":
        return _json(405, error_answer(Code.NOT_FOUND, "only GET is answered here"))
    match path:
        case "/metrics":
            return Response(metrics.text(), media_type=CONTENT_TYPE)
        case "/livez":
            return live()
        case "/readyz":
            return ready(health)
        case _:
            return _json(404, error_answer(Code.NOT_FOUND, "here are /metrics, /livez and /readyz"))


def _json(status: int, body: bytes) -> Response:
    return Response(body, status, later(status), media_type="application/json")
