"""Many pins and completions in one request: NDJSON in and out, a result a line in the same order.

A line is read and judged by itself: what is wrong with one harms none beside it. Never decides what is pinned.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
from starlette.responses import Response

from registry.access.caller import Caller, Scope, stations
from registry.access.own import require_own
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.limits.body import MAX_BODY_BYTES
from registry.limits.rates import RouteClass
from registry.messages import ErrorDetail, RawEnvelope, error_detail, raw, read_device, read_envelope, read_request
from registry.pins.batch import CompletionLine, Line, PinLine, Settled
from registry.pins.reading import UntrustedError
from registry.pins.record import PinRecord
from registry.routes.route import Asked, Route
from registry.services import Services
from registry.statuses import status_of
from trust.codes import Code
from trust.pin_act import State
from trust.statement import Completion, Hex32, PinStatement

_log = logging.getLogger(__name__)
MAX_LINES = 500
MAX_BATCH_BYTES = 4_194_304
_UNAVAILABLE = 503
_ENVELOPE = {"$ref": "#/components/schemas/Envelope"}
_ORDER = {"oneOf": [_ENVELOPE, {"type": "string", "pattern": "^[0-9a-f]{64}$"}]}
_NOTHING = msgspec.Raw()


class BatchLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a batch: `statement` and `order` of a pin, or a `completion`.

    `order` is the envelope, or the SHA-256 of the payload of an order that another line brings or the registry has.
    """

    device_id: str
    statement: RawEnvelope | msgspec.UnsetType = msgspec.UNSET
    order: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema=_ORDER)] | msgspec.UnsetType = msgspec.UNSET
    completion: RawEnvelope | msgspec.UnsetType = msgspec.UNSET


class BatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """What has come of one line: the status that it would have got by itself, and its statement's receipt or why not.

    `device_id` as the line named it; empty where it named none.
    """

    device_id: str
    status: int
    state: State | None = None
    receipt: RawEnvelope | None = None
    error: ErrorDetail | None = None


def post_batch(services: Services, asked: Asked) -> Response:
    """Pin and complete up to 500 devices; each line is answered by itself, in the same order. Safe to send again."""
    lines = [each for each in asked.body.split(b"\n") if each.strip()]
    if not lines:
        raise RefusedError(Code.MALFORMED, "a batch has one line at least")
    if len(lines) > MAX_LINES:
        raise RefusedError(Code.TOO_LARGE, f"a batch has at most {MAX_LINES} lines")
    wanted = [_read(each, asked.caller) for each in lines]
    settled = iter(services.batch.settle([line for _, line in wanted if not isinstance(line, RefusedError)]))
    found = [line if isinstance(line, RefusedError) else next(settled) for _, line in wanted]
    results = [_result(*each, came) for each, came in zip(wanted, found, strict=True)]
    body = b"\n".join(map(msgspec.json.encode, results)) + b"\n"
    return Response(body, 200, media_type="application/x-ndjson")


def _read(line: bytes, caller: Caller | None) -> tuple[str, Line | RefusedError]:
    """The device that the line names, and what it wants."""
    named = ""
    try:
        _require_short(line)
        asked = read_request(line, BatchLine)
        named = str(read_device(asked.device_id))
        return named, _wanted(asked, caller)
    except RefusedError as error:
        return named, error


def _require_short(line: bytes) -> None:
    if len(line) > MAX_BODY_BYTES:
        raise RefusedError(Code.TOO_LARGE, f"a line takes at most {MAX_BODY_BYTES} bytes")


def _wanted(asked: BatchLine, caller: Caller | None) -> Line:
    device = read_device(asked.device_id)
    match asked.statement, asked.order, asked.completion:
        case msgspec.Raw() as statement, msgspec.Raw() as order, msgspec.UNSET:
            pin = read_envelope(statement, "statement")
            require_own(caller, pin, PinStatement)
            return PinLine(device, pin, _hash(order) or read_envelope(order, "order"))
        case msgspec.UNSET, msgspec.UNSET, msgspec.Raw() as completion:
            done = read_envelope(completion, "completion")
            require_own(caller, done, Completion)
            return CompletionLine(device, done)
        case _:
            raise RefusedError(Code.MALFORMED, "a line has statement and order, or a completion")


def _hash(order: msgspec.Raw) -> str | None:
    """The order's hash, if that is what stands there."""
    if not bytes(order).startswith(b'"'):
        return None
    try:
        return msgspec.json.decode(order, type=Hex32)
    except msgspec.DecodeError as error:
        raise RefusedError(Code.MALFORMED, f"order: neither an envelope nor a SHA-256: {error}") from error


def _result(device: str, line: Line | RefusedError, settled: Settled) -> BatchResult:
    completed = isinstance(line, CompletionLine)
    match settled:
        case PinRecord():
            entry = settled.completion if completed and settled.completion is not None else settled.pin
            return BatchResult(device_id=device, status=200, state=settled.state, receipt=raw(entry.receipt))
        case RefusedError():
            why = error_detail(settled.code, str(settled), settled.stored)
            return BatchResult(device_id=device, status=status_of(settled.code), error=why)
        case ReceiptUnavailableError():
            why = error_detail(Code.TOKEN_UNAVAILABLE, str(settled))
            return BatchResult(device_id=device, status=_UNAVAILABLE, error=why)
        case UntrustedError():
            _log.error("stored rows do not verify: station-registry check names them", extra={"part": settled.tables})
            why = error_detail(Code.RECORD_UNTRUSTED, settled.told)
            return BatchResult(device_id=device, status=status_of(Code.RECORD_UNTRUSTED), error=why)


ROUTES = (
    Route(
        method="POST", path="/v1/pins:batch", work=post_batch, access=stations(Scope.PINS_WRITE),
        body=BatchLine, answer=BatchResult, refusals=(400, 403, 413), rate=RouteClass.BATCH,
        max_body_bytes=MAX_BATCH_BYTES, lines=True,
    ),
)  # fmt: skip
