"""What FastAPI cannot see for the OpenAPI document: bodies and answers are raw JSON, described by their structs.

One source for code and document: `registry.messages`. Never used while a request is served.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI

from registry.messages import (
    CompletionRequest,
    ErrorAnswer,
    HistoryAnswer,
    LeaseAnswer,
    LeaseDemand,
    PinAnswer,
    PinRequest,
    StatusAnswer,
)
from trust.dsse import Envelope

_REF = "#/components/schemas/{name}"
_STRUCTS = (
    PinRequest, CompletionRequest, LeaseDemand, PinAnswer, HistoryAnswer, LeaseAnswer, StatusAnswer, ErrorAnswer,
    Envelope,
)  # fmt: skip


def content(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """A JSON media-type entry that refers to a struct's schema."""
    return {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}


def of_device(body: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """What an operation's function does not show: the device of the path, and the request body if any."""
    device = {"name": "device_id", "in": "path", "required": True, "schema": {"type": "string", "title": "Device Id"}}
    return {"parameters": [device], **({} if body is None else with_body(body))}


def with_body(body: type[msgspec.Struct]) -> dict[str, Any]:
    """An operation's request body."""
    return {"requestBody": {"required": True, "content": content(body)}}


def answers(kind: type[msgspec.Struct], *refusals: int) -> dict[int | str, dict[str, Any]]:
    """The responses part of an operation: 200 with this struct, these refusals, and 500 or 503 from any."""
    refused: dict[int | str, dict[str, Any]] = {
        status: {"description": "refused", "content": content(ErrorAnswer)} for status in (*refusals, 500, 503)
    }
    return {
        200: {"description": "held", "content": content(kind)},
        **refused,
        "default": {"description": "not of this API", "content": content(ErrorAnswer)},
    }


def install(app: FastAPI) -> None:
    """Make the app's document carry the structs' schemas."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        described = plain()
        _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
        described.setdefault("components", {})["schemas"] = schemas
        return described

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
