"""Many statements in one request to the registry, and its answer line by line (NDJSON, docs/statements.md §9). Pure.

Never believes a line: what is not exactly a result of this API counts as no answer for its statement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from station.cloud import CloudRefusedError, CloudUnreachableError, Sent
from trust.dsse import Envelope, EnvelopeError

PATH = "/v1/pins:batch"
MAX_ANSWER_BYTES = 16_777_216  # a refusal shows a record of up to some 20 kB
_OK = 200
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvelopeError)

Answer = Envelope | CloudRefusedError | CloudUnreachableError
Refusal = Callable[[str, int, bytes], CloudRefusedError | CloudUnreachableError]
"""What a status other than 200 means: what was asked, the status, and a refusal's JSON."""


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    device_id: str
    status: int
    receipt: msgspec.Raw
    error: msgspec.Raw


def body(sent: Sequence[Sent]) -> bytes:
    """The request's lines. An order goes with the first of its statements; the others name it."""
    told: set[Envelope] = set()
    return b"\n".join(_line(each, told) for each in sent)


def results(asked: str, answer: bytes, sent: Sequence[Sent], refusal: Refusal) -> list[Answer]:
    """What came back for each; CloudUnreachableError if it is not one line for each."""
    lines = answer.splitlines()
    if len(lines) != len(sent):
        raise CloudUnreachableError(f"{asked}: {len(lines)} results for {len(sent)} statements")
    return [_result(asked, line, each, refusal) for line, each in zip(lines, sent, strict=True)]


def _line(sent: Sent, told: set[Envelope]) -> bytes:
    device, statement = str(sent.device).encode(), sent.statement.to_json()
    if sent.order is None:
        return b'{"device_id":"%s","completion":%s}' % (device, statement)
    order = b'"%s"' % sent.order.payload_sha256.encode() if sent.order in told else sent.order.to_json()
    told.add(sent.order)
    return b'{"device_id":"%s","statement":%s,"order":%s}' % (device, statement, order)


def _result(asked: str, line: bytes, sent: Sent, refusal: Refusal) -> Answer:
    about = f"{asked}, device {sent.device}"
    try:
        told = msgspec.json.decode(line, type=_Result)
        if told.status != _OK:
            return refusal(about, told.status, b'{"error":%s}' % bytes(told.error))
        return Envelope.from_json(bytes(told.receipt))
    except _UNREADABLE as error:
        return CloudUnreachableError(f"{about}: not a result of the registry: {type(error).__name__}")
