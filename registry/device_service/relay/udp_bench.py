"""The UDP service's session of one relayed handshake: the same steps as for a socket; a station carries the datagrams.

In worker threads, one after the other, since a step blocks while the signer signs. It is over with the service's
Hello. No cookie is asked for: the station has said who it is, and for which device.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final

from registry.device_service.pins import BenchPin
from registry.device_service.relay.course import PIECE, SLOW_S, Course
from registry.device_service.relay.failures import failed, too_slow, trouble
from registry.device_service.relay.word import Reporter
from registry.device_service.udp.conversation import Conversation, ConversationError
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.endpoint import Timing
from registry.device_service.udp.session import BENCH_MTU, Session, SessionError
from registry.device_service.udp.transcript import Exchanged
from registry.device_service.work import beside
from trust.dsse import Envelope

_log = logging.getLogger(__name__)
_NUMBERS: Final = 65_536
TIMING: Final = Timing(retransmit_ms=4_000)
"""A unit is asked for its datagrams one by one on a line that loses none: early repeats would only queue up."""


class UdpBench:
    """One device's. Made and used on the event loop; what it hands to threads comes back to it."""

    def __init__(
        self, course: Course, held: BenchPin, station: str, *, reporter: Reporter, work: Executor,
        credentials: Credentials, repeated: Callable[[Exchanged], str], timing: Timing = TIMING,
    ) -> None:  # fmt: skip
        self._course, self._held, self._station = course, held, station
        self._reporter, self._work = reporter, work
        self._session = Session(credentials, held, mtu=BENCH_MTU, timing=timing, repeated=repeated)
        self._conversation = Conversation(held.device_id, secrets.randbelow(_NUMBERS))
        self._waiting: list[bytes] = []
        self._closed = False
        self._asked: Future[Envelope | None] | None = None
        self._clock: asyncio.TimerHandle | None = None

    def feed(self, items: Iterable[bytes]) -> None:
        """What the device has sent, in its order; without anything, what is due again by now is sent again."""
        self._waiting += items
        if self._asked is None and not self._course.over:
            self._begin()

    def close(self) -> None:
        """Nothing goes on; the session ends when its step does."""
        self._closed = True
        if self._asked is None:
            self._session.close()
        else:
            self._asked.cancel()  # one that nobody has begun with

    def _begin(self) -> None:
        taken, self._waiting = self._waiting, []
        self._course.begin()
        self._asked = beside(self._work, partial(self._step, taken), self._stepped)
        self._clock = asyncio.get_running_loop().call_later(SLOW_S, self._slow)

    def _slow(self) -> None:
        """A signer that hangs, or a line of others before us: the step of one that waits is not begun any more."""
        self._course.fail(too_slow("udp"))
        if self._asked is not None:
            self._asked.cancel()

    def _step(self, items: Sequence[bytes]) -> Envelope | None:
        """In a thread: everything that came, or else what is due; the report, once the device has been greeted."""
        if not items:
            self._session.tick()
        for each in items:
            for message in self._session.feed(each):
                for answer in self._conversation.answer(message):
                    self._session.send(answer)
            peer = self._session.peer
            if peer is not None and self._conversation.hello is not None:
                words = self._station, peer.suite.value, peer.exchanged.transcript
                return self._reporter.report(self._held, *words)
        return None

    def _stepped(self, done: Future[Envelope | None]) -> None:
        self._asked = None
        if self._clock is not None:
            self._clock.cancel()
        if not done.cancelled():
            self._say()
            self._judge(done)
        self._course.rest()
        if self._closed or self._course.over:
            self._session.close()
        elif self._waiting:
            self._begin()

    def _say(self) -> None:
        for each in self._session.outgoing():
            if len(each) > PIECE:  # cut, it would be two others
                self._course.fail(failed(ValueError(f"a datagram of {len(each)} bytes: a tunnel takes {PIECE}")))
                return
            self._course.say(each)

    def _judge(self, done: Future[Envelope | None]) -> None:
        error = done.exception()
        if isinstance(error, SessionError | ConversationError):
            self._refused(error)
        elif error is not None:
            self._course.fail(failed(error))
        elif (report := done.result()) is not None:
            self._course.done(report)

    def _refused(self, error: SessionError | ConversationError) -> None:
        why = error.reason.value if isinstance(error, SessionError) else "hello"
        _log.info("a relayed handshake came to no session", extra={"part": f"udp {why}"})
        ours = trouble(error)
        if ours is None:
            self._course.refuse()
        else:
            self._course.fail(ours)
