"""The relayed handshakes of one device service: opened, stepped, forgotten. One event loop's.

Each belongs to one station, which its registry names, and is over with its report, with a refusal, or by itself after a
minute. A second one of the same device drops the first, as the unit's tunnel does. One step of each is answered at a
time. Never says why a device was refused.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

from registry.device_service.pins import BenchPin, RegistryPins
from registry.device_service.relay.course import Course
from registry.device_service.relay.failures import AGAIN_S, failed
from registry.device_service.relay.messages import Answer, Open, Progress, Refusal, Request, Step
from registry.failures import STORE_FAILED, DatabaseError
from registry.pins.reading import UntrustedError
from trust.codes import Code
from trust.identity import DeviceId, IdentityError

_log = logging.getLogger(__name__)
WAIT_S: Final = 5.0
"""For what is in work, before a step is answered without it."""
_STEP_AGAIN_S: Final = 1.0
HELD_S: Final = 7.0
"""For the pin: after that the database has failed; the registry waits a little longer (`relay.client`)."""


class Bench(Protocol):
    """One protocol's end of one handshake."""

    def feed(self, items: Iterable[bytes]) -> None:
        """What the device has sent, in its order; nothing, when it is only asked whether there is something for it."""

    def close(self) -> None:
        """Nothing goes on."""


Begin = Callable[[Course, BenchPin, str], Bench]
"""Begins one for a station."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many handshakes there may be at once, in all and of one station, and for how many seconds each."""

    most: int = 512
    of_a_station: int = 128
    lasts_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relayed:
    station: str
    device: str
    protocol: str
    course: Course
    bench: Bench
    clock: asyncio.TimerHandle


class Desk:
    """Answers the registry. `cloud` is the fingerprint of the service's own key, by protocol.

    `ended` is told of each handshake: its protocol, and how it ended.
    """

    def __init__(
        self, pins: RegistryPins, begin: dict[str, Begin], work: Executor, *, cloud: Mapping[str, str],
        room: Room | None = None, ended: Callable[[str, str], None] = lambda _protocol, _how: None,
    ) -> None:  # fmt: skip
        self._pins, self._begin, self._work, self._cloud = pins, begin, work, cloud
        self._room, self._ended = room or Room(), ended
        self._there: dict[str, _Relayed] = {}
        self._stepping: set[str] = set()

    def __len__(self) -> int:
        return len(self._there)

    async def answer(self, request: Request, gone: Callable[[], bool] = lambda: False) -> Answer:
        """What becomes of one request; nothing is begun for somebody who is `gone` by then."""
        match request:
            case Open():
                return await self._open(request, gone)
            case Step():
                return await self._step(request)

    def close(self) -> None:
        """All of them end."""
        for name in tuple(self._there):
            self._drop(name, "closed")

    async def _open(self, request: Open, gone: Callable[[], bool]) -> Answer:
        until_s = asyncio.get_running_loop().time() + WAIT_S
        held = await self._held(request)
        if isinstance(held, Refusal):
            return held
        if gone():  # it may have begun another one meanwhile, which this one would drop
            return self._unknown()
        for name, each in tuple(self._there.items()):
            if each.device == request.device_id and each.station == request.station:
                self._drop(name, "closed")
        if (full := self._full(request.station)) is not None:
            return full
        name, course = secrets.token_hex(16), Course()
        clock = asyncio.get_running_loop().call_later(self._room.lasts_s, self._drop, name, "late")
        bench = self._begin[request.protocol](course, held, request.station)
        self._there[name] = _Relayed(
            station=request.station, device=request.device_id, protocol=request.protocol, course=course,
            bench=bench, clock=clock,
        )  # fmt: skip
        if request.received:
            bench.feed(request.received)
            await course.moved(max(0.0, until_s - asyncio.get_running_loop().time()))
        return self._where(name, course)

    async def _held(self, request: Open) -> BenchPin | Refusal:
        """The pin that it is about; what is refused here says no more than that there is none for this bench."""
        if (full := self._full(request.station)) is not None:
            return full
        loop = asyncio.get_running_loop()
        try:
            device = DeviceId.parse(request.device_id)
            words = request.station, device, request.job, request.protocol
            async with asyncio.timeout(HELD_S):
                held = await loop.run_in_executor(self._work, self._pins.at_bench, *words)
        except TimeoutError:
            return failed(DatabaseError(f"it has not said for {HELD_S:g} s which pin the device has"))
        except IdentityError as error:
            return Refusal(code=Code.MALFORMED, message=str(error))
        except (UntrustedError, *STORE_FAILED) as error:
            return failed(error)
        if held is None:
            text = f"device {device} has no {request.protocol} pin of this job under an order of this station"
            return Refusal(code=Code.NOT_PINNED, message=text)
        return self._of_our_key(held, request.protocol)

    def _of_our_key(self, held: BenchPin, protocol: str) -> BenchPin | Refusal:
        """No unit of an order for another cloud key can meet us: said of the order, before it is found in each unit."""
        own, wanted = self._cloud[protocol], held.order.cloud.fingerprint
        if wanted == own:
            return held
        order = held.order.order_id
        _log.warning("a handshake for another cloud key was not begun", extra={"part": f"order {order}"})
        text = f"order {order} names the cloud key {wanted}, and the device service has {own}"
        return Refusal(code=Code.CLOUD_KEY_DIFFERS, message=text)

    def _full(self, station: str) -> Refusal | None:
        own = sum(each.station == station for each in self._there.values())
        if len(self._there) < self._room.most and own < self._room.of_a_station:
            return None
        _log.warning("a relayed handshake was not begun: there are too many", extra={"station": station})
        text = "too many handshakes are under way: send this again later"
        return Refusal(code=Code.TOO_MANY_REQUESTS, message=text, after_s=AGAIN_S)

    async def _step(self, request: Step) -> Answer:
        found = self._of(request)
        if found is None:
            return self._unknown()
        if request.handshake in self._stepping:  # each waits in a thread of the registry's, which others need
            text = "a step of this handshake is not answered yet: wait for its answer"
            return Refusal(code=Code.TOO_MANY_REQUESTS, message=text, after_s=_STEP_AGAIN_S)
        self._stepping.add(request.handshake)
        try:
            found.bench.feed(request.received)
            await found.course.moved(WAIT_S, to_the_end=request.ended)
        finally:
            self._stepping.discard(request.handshake)
        if request.ended and not found.course.over:
            found.course.refuse()
        return self._where(request.handshake, found.course)

    def _unknown(self) -> Refusal:
        text = "there is no such handshake of this station: it is over, or was another service's; begin anew"
        return Refusal(code=Code.HANDSHAKE_UNKNOWN, message=text)

    def _where(self, name: str, course: Course) -> Answer:
        """Where it is now; one that is over is forgotten."""
        if course.over:
            self._drop(name, course.state if course.failure is None else "failed")
        if course.failure is not None:
            return course.failure
        return Progress(handshake=name, state=course.state, send=course.take(), report=course.report)

    def _of(self, request: Step) -> _Relayed | None:
        found = self._there.get(request.handshake)
        return found if found is not None and found.station == request.station else None

    def _drop(self, name: str, how: str) -> None:
        found = self._there.pop(name, None)
        if found is not None:
            found.clock.cancel()
            found.bench.close()
            self._ended(found.protocol, how)
