"""What registry and device service say to each other over the relay's socket: frames, requests, answers. Pure.

A frame is a 4-byte big-endian length and that many bytes of JSON, at most 64 KiB. One request a connection, and its
answer. The version is looked at first: whoever has another one is told so, whatever else is in the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Literal

import msgspec

from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import DeviceHex, JobHex, Name

VERSION: Final = 1
MAX_FRAME_BYTES: Final = 65_536
LENGTH: Final = struct.Struct(">I")
MOST_ITEMS, MOST_ITEM_BYTES = 16, 2_048
_QUOTED: Final = 300  # characters of a decoder's words, so that a refusal fits into a frame

Protocol = Literal["tcp", "udp"]
State = Literal["running", "done", "refused"]
Item = Annotated[bytes, msgspec.Meta(max_length=MOST_ITEM_BYTES)]
Items = Annotated[tuple[Item, ...], msgspec.Meta(max_length=MOST_ITEMS)]


class FrameError(ValueError):
    """No frame of this protocol; `code` is the refusal's."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class Open(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="open"):
    """Begin a handshake of this device, for this station's bench; `received`: what it has sent of its own accord."""

    v: Literal[1] = VERSION
    station: Name
    device_id: DeviceHex
    job: JobHex
    protocol: Protocol
    received: Items = ()


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="do", tag="step"):
    """What the device has sent since; `ended`: it will send no more."""

    v: Literal[1] = VERSION
    station: Name
    handshake: JobHex
    received: Items = ()
    ended: bool = False


Request = Open | Step


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="progress"):
    """Where a handshake is, and what the device has to get, in this order."""

    v: Literal[1] = VERSION
    handshake: JobHex
    state: State
    send: tuple[bytes, ...] = ()
    report: Envelope | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag_field="is", tag="refusal"):
    """Why not: a stable code, a text for people, and in how many seconds it is worth asking again (0: not known)."""

    v: Literal[1] = VERSION
    code: Code
    message: str
    after_s: float = 0.0


Answer = Progress | Refusal


class _Version(msgspec.Struct, frozen=True):
    v: int


def framed(message: Request | Answer) -> bytes:
    """The message as a frame; FrameError if it is too large for one."""
    data = msgspec.json.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError(Code.TOO_LARGE, f"a frame takes at most {MAX_FRAME_BYTES} bytes, not {len(data)}")
    return LENGTH.pack(len(data)) + data


def body_length(head: bytes) -> int:
    """How many bytes follow; FrameError for more than a frame takes."""
    size: int = LENGTH.unpack(head)[0]
    if size > MAX_FRAME_BYTES:
        raise FrameError(Code.TOO_LARGE, f"a frame takes at most {MAX_FRAME_BYTES} bytes, not {size}")
    return size


def read_request(data: bytes) -> Request:
    """FrameError for anything that is not exactly a request of this version."""
    with _strictly(data):
        return msgspec.json.decode(data, type=Request)


def read_answer(data: bytes) -> Answer:
    """FrameError for anything that is not exactly an answer of this version."""
    with _strictly(data):
        return msgspec.json.decode(data, type=Answer)


@contextmanager
def _strictly(data: bytes) -> Iterator[None]:
    try:
        version = msgspec.json.decode(data, type=_Version).v
        if version != VERSION:
            text = f"version {version} of the relay's socket, here is {VERSION}: run one version of the registry"
            raise FrameError(Code.MALFORMED, text)
        yield
    except (msgspec.DecodeError, RecursionError) as error:
        raise FrameError(Code.MALFORMED, f"not a message of the relay: {str(error)[:_QUOTED]}") from error
