"""The TCP service's connection of one relayed handshake: the same as behind a socket, on a transport that collects.

It is over with the service's Hello. Whoever is refused is refused at the same fixed time as on a socket. The stream of
both sides up to there is what the report's transcript is a hash of: messages 1 to 3 and both Hellos.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final

from registry.device_service.keys import Watched
from registry.device_service.pins import BenchPin
from registry.device_service.relay.course import PIECE, SLOW_S, Course
from registry.device_service.relay.failures import BUG, failed, too_slow
from registry.device_service.relay.word import Reporter
from registry.device_service.tcp.connection import FAULT, Connection, Ended, Service, Times
from registry.device_service.tcp.handshake import MESSAGE_2_BYTES, Accepted
from registry.device_service.work import beside
from trust.dsse import Envelope

_log = logging.getLogger(__name__)
SUITE: Final = "RSA_PKCS1_WITH_AES_128_CBC"
"""The protocol has one, and no name for it."""
LONG_S: Final = 120.0
TIMES: Final = Times(message_2_s=LONG_S, refused_s=SLOW_S, hello_s=LONG_S, silence_s=LONG_S, beat_s=0.0)
"""A line of many units has the service answer them all at once; when a session is over is the desk's to say."""


class Collected(asyncio.Transport):
    """Hands on what is written. `lost` is called once, a moment after its end, as a socket's protocol hears of it."""

    def __init__(self, wrote: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        super().__init__()
        self._wrote, self._lost = wrote, lost
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """For the device."""
        if data:
            self._wrote(bytes(data))

    def is_closing(self) -> bool:
        """Whether nothing goes on here."""
        return self._closing

    def close(self) -> None:
        """Nothing more is written."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._lost)

    abort = close


class TcpBench:
    """One device's. Made and used on the event loop."""

    def __init__(
        self,
        course: Course,
        held: BenchPin,
        station: str,
        *,
        reporter: Reporter,
        work: Executor,
        times: Times | None = None,
    ) -> None:
        self._course, self._held, self._station = course, held, station
        self._reporter, self._work = reporter, work
        self._keys = Watched(reporter.keys)
        self._heard = hashlib.sha256()
        self._came = 0
        self._judging = self._greeted = self._closed = False
        self._refused = ""
        self._clock: asyncio.TimerHandle | None = None
        service = Service(
            keys=self._keys, pins=held, work=work, times=times or TIMES, opened=self._opened,
            refused=self._refused_for, ended=self._ended,
        )  # fmt: skip
        self._connection = Connection(service)
        self._line = Collected(self._wrote, partial(self._connection.connection_lost, None))
        self._connection.connection_made(self._line)

    def feed(self, items: Iterable[bytes]) -> None:
        """What the device has sent, in its order."""
        for each in items:
            if self._line.is_closing() or self._greeted:
                return
            self._heard.update(each)
            before, self._came = self._came, self._came + len(each)
            if before < MESSAGE_2_BYTES <= self._came:
                self._judging = True
                self._course.begin()
            self._connection.data_received(each)

    def close(self) -> None:
        """Nothing goes on. That is our end, and no word about the device."""
        self._closed = True
        self._line.close()

    def _wrote(self, data: bytes) -> None:
        self._heard.update(data)
        for at in range(0, len(data), PIECE):
            self._course.say(data[at : at + PIECE])
        self._judged()

    def _judged(self) -> None:
        if self._judging:
            self._judging = False
            self._course.rest()

    def _refused_for(self, reason: str) -> None:
        self._refused = reason
        _log.info("a relayed handshake was refused", extra={"part": f"tcp {reason}"})

    def _ended(self, why: Ended) -> None:
        self._judged()
        if self._greeted or self._closed:
            return
        if self._keys.trouble is not None:
            self._course.fail(failed(self._keys.trouble))
        elif self._refused == FAULT:
            self._course.fail(BUG)
        elif why is Ended.REFUSED and not self._refused and self._came == MESSAGE_2_BYTES:
            self._course.fail(too_slow("tcp"))
        else:
            self._course.refuse()

    def _opened(self, _: Accepted) -> None:
        """The device has proved itself, and has been greeted."""
        self._greeted = True
        self._course.begin_the_end()
        words = self._held, self._station, SUITE, self._heard.digest()
        asked = beside(self._work, partial(self._reporter.report, *words), self._reported)
        self._clock = asyncio.get_running_loop().call_later(SLOW_S, self._slow, asked)

    def _slow(self, asked: Future[Envelope]) -> None:
        self._course.fail(too_slow("tcp"))
        asked.cancel()

    def _reported(self, done: Future[Envelope]) -> None:
        if self._clock is not None:
            self._clock.cancel()
        if not done.cancelled():  # which it is where it was too slow, and at our own end
            error = done.exception()
            if error is None:
                self._course.done(done.result())
            else:
                self._course.fail(failed(error))
        self._course.rest()
        self._line.close()
