"""The registry's routes about one device: what is held of it, and acts on it. Knows no HTTP client and no flow.

Trust no answer: what of it is proved, `station.cloud.held` tells. Whether a step is due the registry says, and the
device judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Protocol, runtime_checkable

import msgspec

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.held import Answer, Held
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.pin_act import PinActKind
from trust.printable import printable
from trust.rekey import Step

_EXCERPT = 120
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvelopeError)
_CHALLENGE = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


@runtime_checkable
class Asks(Protocol):
    """The registry, for any request of its API."""

    async def asked(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The answer, if it is 200; CloudRefusedError, CloudUnreachableError."""


class _Challenge(msgspec.Struct, frozen=True):
    challenge: _CHALLENGE


class _Authorised(msgspec.Struct, frozen=True):
    authorisation: msgspec.Raw


class _Proposed(msgspec.Struct, frozen=True):
    proposal: str


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    act: msgspec.Raw
    challenge: bytes
    spki: bytes
    signatures: tuple[bytes, bytes]
    old_signatures: tuple[bytes, bytes]
    authorisation: msgspec.Raw


class _Code(msgspec.Struct, frozen=True):
    user_id: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownKey:
    """What a device shows of its new key over the registry's challenge, and by whose leave it was made."""

    challenge: bytes
    spki: bytes
    signatures: tuple[bytes, bytes]
    old_signatures: tuple[bytes, bytes]
    leave: Envelope


@dataclass(frozen=True, slots=True)
class ApproverCode:
    """The one-time code of the approver who has signed an act, by its id at the registry. Sent once, kept nowhere."""

    user_id: str
    code: str = field(repr=False)


class Devices:
    """Asks about devices, as whoever `registry` shows."""

    def __init__(self, registry: Asks) -> None:
        self._registry = registry

    async def held(self, device: DeviceId) -> Held | None:
        """GET /v1/devices/{device}; None for 404 `not-pinned`."""
        try:
            answer = await self._registry.asked("GET", f"/v1/devices/{device}")
        except CloudRefusedError as error:
            if error.code is Code.NOT_PINNED:
                return None
            raise
        return _held(device, answer)

    async def challenge(self, device: DeviceId) -> bytes:
        """POST …/challenge: 32 bytes, good once."""
        answer = await self._registry.asked("POST", f"/v1/devices/{device}/challenge")
        with _an_answer("a challenge"):
            return msgspec.json.decode(answer, type=_Challenge).challenge

    async def authorise(self, device: DeviceId, act: Envelope, step: Step, nonce: bytes, new: str) -> Envelope:
        """POST …/authorisations: the authority's word. Verify it."""
        fields = {"act": msgspec.Raw(act.to_json()), "step": step.value, "nonce": nonce.hex(), "new_fingerprint": new}
        answer = await self._registry.asked("POST", f"/v1/devices/{device}/authorisations", msgspec.json.encode(fields))
        with _an_answer("an authorisation"):
            return Envelope.from_json(bytes(msgspec.json.decode(answer, type=_Authorised).authorisation))

    async def repin(self, device: DeviceId, act: Envelope, shown: ShownKey) -> Held:
        """POST …/repin: the new key is pinned. After a lost answer ask `held`."""
        body = _Shown(
            act=msgspec.Raw(act.to_json()), challenge=shown.challenge, spki=shown.spki, signatures=shown.signatures,
            old_signatures=shown.old_signatures, authorisation=msgspec.Raw(shown.leave.to_json()),
        )  # fmt: skip
        path = f"/v1/devices/{device}/repin"
        return _held(device, await self._registry.asked("POST", path, msgspec.json.encode(body)))

    async def scrap(self, device: DeviceId, act: Envelope, code: ApproverCode | None = None) -> Held:
        """POST …/scrap: the id is burned; `code` where one approver is enough. After a lost answer ask `held`."""
        body = b'{"act":%s}' % act.to_json()
        if code is not None:
            body = b'{"act":%s,"approver":%s}' % (act.to_json(), msgspec.json.encode(_Code(code.user_id, code.code)))
        return _held(device, await self._registry.asked("POST", f"/v1/devices/{device}/scrap", body))

    async def revoke(self, device: DeviceId, act: Envelope) -> Held:
        """POST …/revoke, as a person: a key is good no more. After a lost answer ask `held`."""
        return await self._do("revoke", device, act)

    async def unscrap(self, device: DeviceId, act: Envelope) -> Held:
        """POST …/unscrap, as a person: the device is what it was. After a lost answer ask `held`."""
        return await self._do("unscrap", device, act)

    async def propose(self, device: DeviceId, kind: PinActKind, reason: str) -> str:
        """POST …/proposals, as a person: the proposal's name."""
        body = msgspec.json.encode({"kind": kind, "reason": reason})
        answer = await self._registry.asked("POST", f"/v1/devices/{device}/proposals", body)
        with _an_answer("a proposal"):
            return printable(msgspec.json.decode(answer, type=_Proposed).proposal, _EXCERPT)

    async def _do(self, what: str, device: DeviceId, act: Envelope) -> Held:
        body = b'{"act":%s}' % act.to_json()
        return _held(device, await self._registry.asked("POST", f"/v1/devices/{device}/{what}", body))


def _held(device: DeviceId, answer: bytes) -> Held:
    with _an_answer(f"device {device}"):
        return Held(device, msgspec.json.decode(answer, type=Answer))


@contextmanager
def _an_answer(what: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        text = f"{what}: 200, but no answer of the registry: {printable(str(error), _EXCERPT)}"
        raise CloudUnreachableError(text) from error
