"""Bytes between a unit's tunnel and the cloud's device service, both ways, until the service says that it is over.

The station has no part in what it carries: it parses nothing and could make nothing up. Bounded in time, exchanges and
bytes, and both ends are closed, however it ends. A step that got no answer is never sent again, as some of the stream
may be lost: both ends begin anew, once. Never says whether a handshake was wanted, and believes nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

from fixtures.device import DeviceError, NoAnswerError, Service, Tunnelled, TunnelState
from station.cloud import CloudRefusedError, CloudUnreachableError, DeviceServiceAwayError
from station.faults import Fault, fault
from station.handshake_faults import OF_UNIT
from station.line import Clock
from station.relay import ITEMS, Bounds, Carried, Relay
from station.unit import Unit
from trust.codes import Code
from trust.identity import DeviceId, JobId

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5
_AWAY_PAUSE_S: Final = 1.0
_TELL_EVERY_S: Final = 1.0


@dataclass(slots=True)
class Moved:
    """What has been carried so far, and how long unit (its wire among it) and cloud took for it."""

    exchanges: int = 0
    from_unit: int = 0
    to_unit: int = 0
    unit_s: float = 0.0
    cloud_s: float = 0.0


class Carrying:
    """One unit's handshake. `told` hears of progress about once a second."""

    def __init__(
        self, unit: Unit, relay: Relay, clock: Clock, *, bounds: Bounds, told: Callable[[Moved], None]
    ) -> None:
        self._unit, self._relay, self._clock = unit, relay, clock
        self._bounds, self._told = bounds, told
        self.moved = Moved()
        self._began = self._told_at = self._heard_at = clock.monotonic()
        self._pause = _FIRST_PAUSE_S
        self._cloud_before = 0.0
        self._begun = self._cloud_gone = False
        self._last_word = b""

    async def carried(self, device: DeviceId, job: JobId, service: Service) -> Carried:
        """To the service's `done`. Raises faults of unit and service, DeviceError's family and the relay's errors."""
        try:
            return await self._once(device, job, service)
        except NoAnswerError as error:
            _LOG.info("handshake: the unit did not answer, begun anew: %s", error)
            await self._unit.open()
        except CloudUnreachableError as error:
            if not self._begun:  # as a device service that is away or unable at the beginning
                raise
            _LOG.info("handshake: an answer of the registry was lost, begun anew: %s", error)
        except CloudRefusedError as error:
            if error.code is not Code.HANDSHAKE_UNKNOWN:
                raise
            _LOG.info("handshake: the service does not know it any more, begun anew: %s", error)
        return await self._once(device, job, service)

    async def _once(self, device: DeviceId, job: JobId, service: Service) -> Carried:
        self._cloud_gone, self._last_word = False, b""
        self._began = self._heard_at = self._clock.monotonic()
        self._cloud_before = self.moved.cloud_s
        under_way: str | None = None
        try:
            first = await self._rest(await self._of_unit(self._unit.device.tunnel_open))
            said = await self._of_cloud(lambda: self._opened(device, job, service, first[:ITEMS]))
            self._begun, under_way = True, said.handshake
            done = await self._to_the_end(said, first[ITEMS:])
            under_way = None
        finally:
            await self._close(None if self._cloud_gone else under_way)
        return done

    async def _opened(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        """Asked again for a while when no service is there: one that is started anew holds no unit, and waives none."""
        until_s = self._clock.monotonic() + self._bounds.away_s
        while True:
            try:
                return await self._relay.open(device, job, service, first)
            except DeviceServiceAwayError:
                if self._clock.monotonic() >= until_s:
                    raise
                await asyncio.sleep(min(_AWAY_PAUSE_S, self._bounds.away_s))

    async def _to_the_end(self, said: Carried, waiting: list[bytes]) -> Carried:
        while True:
            if said.state == "refused":  # what it still says is that: the unit's word of it would be the echo
                raise fault("handshake-refused", "the service says no more: its own log has the reason")
            waiting += await self._give_unit(said.send)
            if said.state == "done":
                return said
            if not waiting and not said.send:
                await asyncio.sleep(self._pause)
                self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            said = await self._give_service(said.handshake, waiting)
            waiting = []

    async def _give_unit(self, items: Sequence[bytes]) -> list[bytes]:
        """What the unit has to send, after each of these; it is asked at least once."""
        sent: list[bytes] = []
        for item in items or (b"",):
            self.moved.to_unit += len(item)
            sent += await self._rest(await self._of_unit(partial(self._unit.device.tunnel_step, item)))
        return sent

    async def _rest(self, answer: Tunnelled) -> list[bytes]:
        sent = [self._from(answer)]
        while answer.more:
            answer = await self._of_unit(self._unit.device.tunnel_step)
            sent.append(self._from(answer))
        return [each for each in sent if each]

    def _from(self, answer: Tunnelled) -> bytes:
        if answer.state is TunnelState.FAILED:
            self._last_word = answer.sent  # its alert, perhaps: the service's log has then why, too
            code = "handshake-unit-failed" if answer.fault is None else OF_UNIT[answer.fault]
            raise fault(code, f"the unit says: {answer.fault or 'failed'}")
        if answer.state is TunnelState.CLOSED:
            raise fault("handshake-closed", "the unit has dropped its tunnel")
        self.moved.from_unit += len(answer.sent)
        return answer.sent

    async def _give_service(self, handshake: str, items: Sequence[bytes]) -> Carried:
        send: list[bytes] = []
        for first in range(0, max(1, len(items)), ITEMS):
            part = items[first : first + ITEMS]
            said = await self._of_cloud(partial(self._relay.step, handshake, part))
            send += said.send
            if said.state != "running":
                break
        return replace(said, send=tuple(send))

    async def _of_unit(self, ask: Callable[[], Awaitable[Tunnelled]]) -> Tunnelled:
        began = self._within_bounds()
        answer = await ask()
        self.moved.unit_s += self._clock.monotonic() - began
        self._heard(something=bool(answer.sent))
        return answer

    async def _of_cloud(self, ask: Callable[[], Awaitable[Carried]]) -> Carried:
        began = self._within_bounds()
        try:
            said = await self._when_let_in(ask)
        except (CloudUnreachableError, CloudRefusedError):
            self._cloud_gone = True  # nobody there who could be told that it is over: it ends by itself
            raise
        took_s = self._clock.monotonic() - began
        self.moved.cloud_s += took_s
        self._heard_at += took_s  # who waits for the registry's answer hears nobody, and nobody is silent
        self._heard(something=bool(said.send) or said.state != "running")
        return said

    async def _when_let_in(self, ask: Callable[[], Awaitable[Carried]]) -> Carried:
        """The answer; who was told to wait was not looked at, and asks the same once more."""
        while True:
            try:
                return await ask()
            except CloudUnreachableError as error:
                late = self._clock.monotonic() + error.after_s > self._began + self._bounds.whole_s
                if not error.after_s or late:
                    raise
                await asyncio.sleep(error.after_s)

    def _within_bounds(self) -> float:
        """Now. Beyond what a handshake may take the fault `handshake-timed-out`, unless most was the cloud's time."""
        now, moved = self._clock.monotonic(), self.moved
        moved.exchanges += 1
        whole_s, cloud_s = now - self._began, moved.cloud_s - self._cloud_before
        if whole_s > self._bounds.whole_s and 2 * cloud_s > whole_s:
            self._cloud_gone = True
            raise CloudUnreachableError(f"a handshake took {whole_s:.0f} s, the registry {cloud_s:.0f} s of them")
        for what, found, most in (
            ("seconds", whole_s, self._bounds.whole_s),
            ("seconds without a word", now - self._heard_at, self._bounds.silence_s),
            ("exchanges", moved.exchanges, self._bounds.exchanges),
            ("bytes", moved.from_unit + moved.to_unit, self._bounds.size),
        ):
            if found > most:
                raise fault("handshake-timed-out", f"more than {most:g} {what}")
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            self._told(moved)
        return now

    def _heard(self, *, something: bool) -> None:
        if something:
            self._heard_at, self._pause = self._clock.monotonic(), _FIRST_PAUSE_S

    async def _close(self, handshake: str | None) -> None:
        """The unit's end, and the service's if it is not over there: what fails here ends by itself, by time."""
        with contextlib.suppress(DeviceError, Fault):
            await self._unit.device.tunnel_close()
        if handshake is not None:
            with contextlib.suppress(CloudUnreachableError, CloudRefusedError):
                await self._relay.step(handshake, [self._last_word] if self._last_word else (), ended=True)
