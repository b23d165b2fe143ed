"""What FastAPI cannot see for the OpenAPI document: bodies and answers are raw JSON, described by their structs.

One source for code and document: each `Route`. Never used while a request is served, but the first for the document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import Response

from registry.access.oauth import CONTENT_TYPE as FORM
from registry.messages import ErrorAnswer
from registry.routes.route import Route
from trust.dsse import Envelope

URL = "/openapi.json"
_REF = "#/components/schemas/{name}"
_SCHEMES = {
    "dpop": {
        "type": "http", "scheme": "DPoP",
        "description": "A station's access token from POST /oauth/token, with a DPoP header (RFC 9449)",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "A person's session or API token"},
}  # fmt: skip
_JSON, _LINES = "application/json", "application/x-ndjson"
_PARAMETER = re.compile(r"\{(\w+)\}")
_PATTERNS = {
    "device_id": "^[0-9a-fA-F]{24}$", "order_sha256": "^[0-9a-f]{64}$", "handshake": "^[0-9a-f]{32}$",
}  # fmt: skip
_FROM_ANY = (400, 413, 429, 431, 500, 503)  # the server, its limits, a database or signer that does not answer
_GUARDED = (401, 403)
_LATER = {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
_HEADERS = {
    401: {
        "WWW-Authenticate": {"description": "how to show who one is", "required": True, "schema": {"type": "string"}}
    },
    429: {"Retry-After": _LATER},
    503: {"Retry-After": _LATER},
}


def content(*kinds: type[msgspec.Struct], media: str = _JSON) -> dict[str, Any]:
    """A media-type entry that refers to a struct's schema, or to one of several."""
    schemas = [{"$ref": _REF.format(name=each.__name__)} for each in kinds]
    return {media: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def of(route: Route) -> dict[str, Any]:
    """What an operation's function does not show: the path's parameters, and the request body if any."""
    found = [
        {"name": name, "in": "path", "required": True, "schema": _schema(name)}
        for name in _PARAMETER.findall(route.path)
    ]
    body = {}
    if route.body is not None:
        medias = [_LINES if route.lines else route.content_type, *([FORM] if route.or_form else [])]
        described = {media: each for wanted in medias for media, each in content(route.body, media=wanted).items()}
        body = {"requestBody": {"required": True, "content": described}}
    security: list[dict[str, list[str]]] = [{"dpop": []}] if route.access.stations else []
    security += [{"bearer": []}] if route.access.roles else []
    return {**({"parameters": found} if found else {}), **body, "security": security}


def answers(route: Route) -> dict[int | str, dict[str, Any]]:
    """The responses part of an operation, all of them: answers, refusals, those of its guard, and those of any."""
    kinds = [ErrorAnswer] if route.refused is ErrorAnswer else [route.refused, ErrorAnswer]
    statuses = sorted({*route.refusals, *(() if route.access.public else _GUARDED), *_FROM_ANY})
    refused: dict[int | str, dict[str, Any]] = {
        status: {"description": "refused", "content": content(*kinds), "headers": _HEADERS.get(status, {})}
        for status in statuses
    }
    held = content(route.answer, media=_LINES if route.lines else _JSON)
    return {**{status: {"description": "held", "content": held} for status in route.statuses}, **refused}


def install(app: FastAPI, routes: Sequence[Route]) -> None:
    """Make the app's document carry the structs' schemas, and serve it at URL: made once, when it is first asked for.

    Making it takes the event loop many milliseconds, and anybody may ask.
    """
    plain = app.openapi
    kinds = {each for route in routes for each in (route.body, route.answer, route.refused) if each is not None}

    @cache
    def document() -> dict[str, Any]:
        described = plain()
        _, schemas = msgspec.json.schema_components((*kinds, ErrorAnswer, Envelope), ref_template=_REF)
        described.setdefault("components", {})["schemas"] = dict(sorted(schemas.items()))
        described["components"]["securitySchemes"] = _SCHEMES
        return described

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(document())

    async def served(_request: Request) -> Response:
        return Response(encoded(), media_type=_JSON)

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
    app.add_route(URL, served, methods=["GET"], include_in_schema=False)


def _schema(name: str) -> dict[str, Any]:
    pattern = {"pattern": _PATTERNS[name]} if name in _PATTERNS else {}
    return {"type": "string", "title": name.replace("_", " ").title(), **pattern}
