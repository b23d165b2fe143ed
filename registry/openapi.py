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
_PARAMETER = re.compile(r"\{(\w+)\}")


def content(kind: type[msgspec.Struct], *, lines: bool = False) -> dict[str, Any]:
    """A media-type entry that refers to a struct's schema: JSON, or NDJSON, of which it is one line's."""
    media = "application/x-ndjson" if lines else "application/json"
    return {media: {"schema": {"$ref": _REF.format(name=kind.__name__)}}}


def of(route: Route) -> dict[str, Any]:
    """What an operation's function does not show: the path's parameters, and the request body if any."""
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": _title(name)}}
        for name in _PARAMETER.findall(route.path)
    ]
    body = (
        {}
        if route.body is None
        else {"requestBody": {"required": True, "content": content(route.body, lines=route.lines)}}
    )
    return {**({"parameters": found} if found else {}), **body}


def answers(kind: type[msgspec.Struct], *refusals: int, lines: bool = False) -> dict[int | str, dict[str, Any]]:
    """The responses part of an operation: 200 with this struct, these refusals, and 429, 500 or 503 from any."""
    refused: dict[int | str, dict[str, Any]] = {
        status: {"description": "refused", "content": content(ErrorAnswer)} for status in (*refusals, 429, 500, 503)
    }
    refused[429]["headers"] = {
        "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
    }
    return {
        200: {"description": "held", "content": content(kind, lines=lines)},
        **refused,
        "default": {"description": "not of this API", "content": content(ErrorAnswer)},
    }


def install(app: FastAPI, routes: Sequence[Route]) -> None:
    """Make the app's document carry the structs' schemas."""
    plain = app.openapi
    kinds = {each for route in routes for each in (route.body, route.answer) if each is not None}

    def document() -> dict[str, Any]:
        described = plain()
        _, schemas = msgspec.json.schema_components((*kinds, ErrorAnswer, Envelope), ref_template=_REF)
        described.setdefault("components", {})["schemas"] = dict(sorted(schemas.items()))
        return described

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _title(name: str) -> str:
    return name.replace("_", " ").title()
