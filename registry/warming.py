"""One look-up that the registry asks of itself before it says that it is ready: what is made at first use is made then.

Routes and their middleware, the first thread, the guard, the database connection. The guard's no is answer enough: the
registry has no token of its own. Never over the network.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Scope

_PATH = "/v1/pins/" + "00" * 11 + "01"  # no device's: of no consequence if it were
_SERVER_ERRORS = 500


async def look_up_once(app: ASGIApp) -> bool:
    """Ask the application for a device; False if it answered that it cannot."""
    answers: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    await app(_scope(), receive, send)
    return all(each < _SERVER_ERRORS for each in answers)


def _scope() -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": {},
    }
