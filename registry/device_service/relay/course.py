"""Where one relayed handshake is: what is to be sent, whether somebody is at work, how it ended. One event loop's.

Knows neither protocol nor socket.
"""

from __future__ import annotations

import asyncio
from typing import Final

from registry.device_service.relay.messages import Refusal, State
from trust.dsse import Envelope

PIECE: Final = 640
"""Bytes of what is sent that a unit's tunnel takes at once."""
SLOW_S: Final = 4.0
"""What waits longer for signer, database or a free thread has failed: a station hears it before it gives up itself."""


class Course:
    """Begins running, and ends once: done, refused, or failed by no fault of the device's."""

    def __init__(self) -> None:
        self.state: State = "running"
        self.report: Envelope | None = None
        self.failure: Refusal | None = None
        self._send: list[bytes] = []
        self._at_work = 0
        self._ending = False
        self._moved = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether nothing becomes of it any more."""
        return self.state != "running" or self.failure is not None

    def say(self, data: bytes) -> None:
        """One datagram, or a piece of the stream, for the device: at most PIECE bytes, and never cut here."""
        self._send.append(data)
        self._moved.set()

    def take(self) -> tuple[bytes, ...]:
        """What is for the device, in its order; each is given once."""
        taken, self._send = tuple(self._send), []
        return taken

    def begin(self) -> None:
        """Somebody is at work for it."""
        self._at_work += 1

    def begin_the_end(self) -> None:
        """As `begin`, and what it is at work for is the end: what there is to send goes with it."""
        self._ending = True
        self.begin()

    def rest(self) -> None:
        """And is through."""
        self._at_work -= 1
        self._moved.set()

    def done(self, report: Envelope) -> None:
        """The device is who it is said to be, and this is the service's word for it."""
        if not self.over:
            self.state, self.report = "done", report
            self._moved.set()

    def refuse(self) -> None:
        """The service is through with this device."""
        if not self.over:
            self.state = "refused"
            self._moved.set()

    def fail(self, why: Refusal) -> None:
        """It can be neither: something of ours was away."""
        if not self.over:
            self.failure = why
            self._moved.set()

    async def moved(self, within_s: float, *, to_the_end: bool = False) -> None:
        """Until there is something to send, it is over, or nobody is at work; `to_the_end`: sending does not count."""
        try:
            async with asyncio.timeout(within_s):
                while self._at_work and not self.over and (to_the_end or self._ending or not self._send):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return
