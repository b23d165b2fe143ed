"""The cloud's device service, as far as a unit's handshake with it is carried: opened, and moved piece by piece.

Through the registry's HTTPS endpoint and in no other way (docs/statements.md §9): station.cloud's own client, with its
token, its proxy and its one TLS root. Never parses what it carries, never tries a step again: what was sent twice would
be no handshake any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol

import msgspec

from fixtures.device import Service
from station.cloud import CloudUnreachableError
from station.cloud.devices import Asks
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId, JobId
from trust.printable import printable

PATH: Final = "/v1/handshakes"
ITEMS, ITEM_BYTES = 16, 2048
"""What one step takes at most."""
_FOR_UNIT_BYTES = 640  # what the unit's tunnel takes at once
_EXCERPT = 120
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EnvelopeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one handshake may take at most: seconds in all, seconds in which nobody says anything, exchanges, bytes.

    `away_s`: for how many seconds a service that is not there is asked again, before that is believed.
    """

    whole_s: float = 45.0
    silence_s: float = 10.0
    away_s: float = 4.0
    exchanges: int = 1000
    size: int = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Where a handshake is, and what is for the unit, in this order. `report` comes with `done`: verify it."""

    handshake: str
    state: Literal["running", "done", "refused"]
    send: tuple[bytes, ...] = ()
    report: Envelope | None = None


class Relay(Protocol):
    """The device service. Raises CloudUnreachableError (or DeviceServiceAwayError) and CloudRefusedError only."""

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        """Begin a handshake of this device's pin, by its job, with what the unit sends first: on UDP it speaks first.

        One that was under way is dropped.
        """

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        """Hand on what the unit has sent, in its order; `ended`: the unit sends no more, so end it."""


class Converses(Protocol):
    """The registry, for requests that must all come to the same process of it."""

    def conversation(self) -> AbstractContextManager[Asks]:
        """A connection of its own, given back at the end."""


class HttpRelay:
    """`Relay` over the registry's API, each handshake by a connection of its own: one process has it.

    So no handshake, however long its service takes, keeps a pin waiting.
    """

    def __init__(self, cloud: Converses) -> None:
        self._cloud = cloud
        self._under_way: dict[str, tuple[Asks, ExitStack]] = {}

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        """POST /v1/handshakes."""
        asked = {"device_id": str(device), "job": str(job), "protocol": service.value, "received": list(first)}
        body = msgspec.json.encode(asked)
        way, held = self._fresh()
        with held:
            with _of_the_registry(PATH):
                said = _carried(await way.asked("POST", PATH, body))
            if said.state == "running":
                self._under_way[said.handshake] = way, held.pop_all()
        return said

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        """POST /v1/handshakes/{handshake}."""
        path = f"{PATH}/{handshake}"
        body = msgspec.json.encode({"received": list(received), "ended": ended})
        kept = self._under_way.pop(handshake, None)
        way, held = kept or self._fresh()
        with held:
            try:
                with _of_the_registry(path):
                    said = _carried(await way.asked("POST", path, body))
                    if said.handshake != handshake:
                        raise EnvelopeError("it answers for another handshake")
            except CloudUnreachableError as error:
                if error.after_s:  # the same step comes again
                    self._under_way[handshake] = way, held.pop_all()
                raise
            if said.state == "running":
                self._under_way[handshake] = way, held.pop_all()
        return said

    def _fresh(self) -> tuple[Asks, ExitStack]:
        held = ExitStack()
        return held.enter_context(self._cloud.conversation()), held


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    handshake: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    state: Literal["running", "done", "refused"]
    send: Annotated[tuple[Annotated[bytes, msgspec.Meta(max_length=_FOR_UNIT_BYTES)], ...], msgspec.Meta(max_length=64)]
    report: msgspec.Raw


def _carried(answer: bytes) -> Carried:
    said = msgspec.json.decode(answer, type=_Answer)
    report = None if bytes(said.report) == b"null" else Envelope.from_json(bytes(said.report))
    return Carried(handshake=said.handshake, state=said.state, send=said.send, report=report)


@contextmanager
def _of_the_registry(path: str) -> Iterator[None]:
    """What is not exactly an answer of this API counts as no answer."""
    try:
        yield
    except _UNREADABLE as error:
        text = f"POST {path}: no answer of the registry: {printable(str(error), _EXCERPT)}"
        raise CloudUnreachableError(text) from error
