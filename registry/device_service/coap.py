"""The CoAP messages that devices of both services speak with us: Hello, ping, key change (RFC 7252). Pure.

Reads and makes them with aiocoap, whose message is nobody else's business. Never answers anything by itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final, Self

import aiocoap
from aiocoap.error import Error

from trust.identity import DeviceId, IdentityError

_HELLO: Final = struct.Struct(">HHHHBB")
_ID_BYTES: Final = 12
_MOST_TOKEN: Final = 8
_MOST_REST: Final = 64  # what newer devices append: versions and limits of their own


class CoapError(ValueError):
    """No message of these; the text is for our own log."""


class Kind(Enum):
    """What a device's message is for us."""

    HELLO = "hello"
    PING = "ping"
    KEY_CHANGE = "key-change"
    ACKNOWLEDGEMENT = "acknowledgement"
    RESET = "reset"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One message of a device: `number` is its message id, `wants_answer` that it is confirmable."""

    kind: Kind
    number: int
    wants_answer: bool
    token: bytes
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From the bytes of one message, in their one spelling; CoapError."""
        try:
            message = aiocoap.Message.decode(data)
            again = _spelled(message)
        except (Error, ValueError, IndexError, struct.error) as error:
            raise CoapError(f"no CoAP message: {error}") from error
        # aiocoap takes tokens that are cut off or too long, and a marker before nothing: format errors (§3).
        if again != data or len(message.token) > _MOST_TOKEN:
            raise CoapError("no CoAP message: what is meant by it would be spelled otherwise")
        if message.mid is None or message.mtype is None:
            raise CoapError("no CoAP message: without id or type")
        return cls(
            kind=_kind(message), number=message.mid, wants_answer=message.mtype is aiocoap.CON, token=message.token,
            payload=message.payload,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a device says of itself first. `device_id` is there over UDP only, where nothing else tells it."""

    product_id: int
    product_version: int
    flags: int
    platform_id: int
    device_id: DeviceId | None

    @classmethod
    def parse(cls, payload: bytes) -> Self:
        """From a Hello's payload; CoapError."""
        if len(payload) < _HELLO.size:
            raise CoapError(f"a Hello of {len(payload)} bytes")
        product, version, flags, platform, reserved, id_bytes = _HELLO.unpack_from(payload)
        rest = payload[_HELLO.size :]
        if reserved or id_bytes not in {0, _ID_BYTES} or not id_bytes <= len(rest) <= id_bytes + _MOST_REST:
            raise CoapError("a Hello of another form")
        try:
            device = DeviceId(rest[:id_bytes]) if id_bytes else None
        except IdentityError as error:
            raise CoapError(f"a Hello: {error}") from error
        return cls(product_id=product, product_version=version, flags=flags, platform_id=platform, device_id=device)


def hello(number: int) -> bytes:
    """Our Hello: POST /h, not confirmable."""
    message = aiocoap.Message(code=aiocoap.POST, _mtype=aiocoap.NON, _mid=number)
    message.opt.uri_path = ("h",)
    return bytes(message.encode())


def acknowledged(heard: Heard) -> bytes:
    """The empty acknowledgement: a ping's answer, and a Hello's over UDP."""
    return bytes(aiocoap.Message(code=aiocoap.EMPTY, _mtype=aiocoap.ACK, _mid=heard.number).encode())


def changed(heard: Heard) -> bytes:
    """2.04 to a confirmable request."""
    return _answered(heard, aiocoap.CHANGED)


def not_found(heard: Heard) -> bytes:
    """4.04 to a confirmable request."""
    return _answered(heard, aiocoap.NOT_FOUND)


def _answered(heard: Heard, code: aiocoap.Code) -> bytes:
    """Inside the acknowledgement (RFC 7252 §5.2.1)."""
    return bytes(aiocoap.Message(code=code, _mtype=aiocoap.ACK, _mid=heard.number, _token=heard.token).encode())


def _spelled(message: aiocoap.Message) -> bytes:
    """The message as we would send it."""
    again = aiocoap.Message(
        code=message.code, payload=message.payload, _mtype=message.mtype, _mid=message.mid, _token=message.token
    )
    again.opt = message.opt
    return bytes(again.encode())


def _kind(message: aiocoap.Message) -> Kind:
    if message.mtype is aiocoap.ACK:
        return Kind.ACKNOWLEDGEMENT
    if message.mtype is aiocoap.RST:
        return Kind.RESET
    if message.code is aiocoap.EMPTY:
        return Kind.PING if message.mtype is aiocoap.CON else Kind.OTHER
    match (message.code, message.opt.uri_path):
        case (aiocoap.POST, ("h",)):
            return Kind.HELLO
        case (aiocoap.PUT, ("k",)):
            return Kind.KEY_CHANGE
    return Kind.OTHER
