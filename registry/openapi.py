"""What FastAPI cannot see for the OpenAPI document: bodies and answers are raw JSON, described by their structs.

One source for code and document: each `Route`. Never used while a request is served.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import FastAPI

from registry.messages import ErrorAnswer
from registry.routes.route import Route
from trust.dsse import Envelope

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


def content(*kinds: type[msgspec.Struct], media: str = _JSON) -> dict[str, Any]:
    """A media-type entry that refers to a struct's schema, or to one of several."""
    schemas = [{"$ref": _REF.format(name=each.__name__)} for each in kinds]
    return {media: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def of(route: Route) -> dict[str, Any]:
    """What an operation's function does not show: the path's parameters, and the request body if any."""
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": _title(name)}}
        for name in _PARAMETER.findall(route.path)
    ]
    body = {}
    if route.body is not None:
        body = {
            "requestBody": {
                "required": True,
                "content": content(route.body, media=_LINES if route.lines else route.content_type),
            }
        }
    security: list[dict[str, list[str]]] = [{"dpop": []}] if route.access.stations else []
    security += [{"bearer": []}] if route.access.roles else []
    return {**({"parameters": found} if found else {}), **body, "security": security}


def answers(route: Route) -> dict[int | str, dict[str, Any]]:
    """The responses part of an operation: 200, its refusals, those of its guard, and 429, 500 or 503 from any."""
    kinds = [ErrorAnswer] if route.refused is ErrorAnswer else [route.refused, ErrorAnswer]
    statuses = sorted({*route.refusals, *(() if route.access.public else (401, 403)), 429, 500, 503})
    refused: dict[int | str, dict[str, Any]] = {
        status: {"description": "refused", "content": content(*kinds)} for status in statuses
    }
    refused[429]["headers"] = {
        "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
    }
    return {
        200: {"description": "held", "content": content(route.answer, media=_LINES if route.lines else _JSON)},
        **refused,
        "default": {"description": "not of this API", "content": content(ErrorAnswer)},
    }


def install(app: FastAPI, routes: Sequence[Route]) -> None:
    """Make the app's document carry the structs' schemas."""
    plain = app.openapi
    kinds = {each for route in routes for each in (route.body, route.answer, route.refused) if each is not None}

    def document() -> dict[str, Any]:
        described = plain()
        _, schemas = msgspec.json.schema_components((*kinds, ErrorAnswer, Envelope), ref_template=_REF)
        described.setdefault("components", {})["schemas"] = dict(sorted(schemas.items()))
        described["components"]["securitySchemes"] = _SCHEMES
        return described

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _title(name: str) -> str:
    return name.replace("_", " ").title()
