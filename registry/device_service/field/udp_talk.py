"""One address's sessions at the UDP port: one that is being opened, in worker threads, and one that is open.

An open session stands until a new one of the same address is proved. Nothing here blocks the event loop: what asks the
signer or the database is done in threads, one step of a session after the other.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Final

from registry.device_service.udp.conversation import Conversation, ConversationError
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import Session, SessionError
from registry.device_service.work import beside

_log = logging.getLogger(__name__)
_NUMBERS: Final = 65_536
_MOST_WAITING: Final = 16
"""Datagrams of a handshake that nobody has had time for; more are lost, and said again by who sent them."""
_OURS: Final = frozenset({Reason.FAULT, Reason.NOT_SIGNED})


class Opening:
    """A handshake. Either `through` or `failed` is called, once, unless it is dropped.

    `through` gets its session, the messages that came with its end, and datagrams since; `failed` a word for counters.
    """

    def __init__(
        self,
        begin: Callable[[], Session],
        work: Executor,
        *,
        send: Callable[[bytes], None],
        through: Callable[[Session, Sequence[bytes], Sequence[bytes]], None],
        failed: Callable[[str], None],
    ) -> None:
        self._begin, self._work = begin, work
        self._send, self._through, self._failed = send, through, failed
        self._session: Session | None = None
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._over = False
        self._asked: Future[list[bytes]] | None = None
        self._clock: asyncio.TimerHandle | None = None

    def feed(self, datagram: bytes) -> None:
        """One that came for it."""
        self._waiting.append(datagram)
        self._go_on()

    def drop(self) -> None:
        """Nothing becomes of it, and nobody is told."""
        self._over = True
        self._stop_clock()
        if self._asked is not None:
            self._asked.cancel()

    def _go_on(self) -> None:
        if self._asked is not None or self._over:
            return
        self._stop_clock()
        taken = tuple(self._waiting)
        self._waiting.clear()
        self._asked = beside(self._work, partial(self._step, taken), self._stepped)

    def _step(self, datagrams: Sequence[bytes]) -> list[bytes]:
        """In a thread: what came, or else what is due. Nothing, if it was dropped before anybody had time for it."""
        if self._over:
            return []
        session = self._session = self._session or self._begin()
        if not datagrams:
            return session.tick()
        return [message for each in datagrams for message in session.feed(each)]

    def _stepped(self, done: Future[list[bytes]]) -> None:
        self._asked = None
        if self._over or done.cancelled():
            return
        session = self._session
        for each in () if session is None else session.outgoing():
            self._send(each)
        try:
            messages = done.result()
        except Exception as error:  # noqa: BLE001 - of a thread: unseen, the address would be kept busy for nothing
            self.drop()
            self._failed(_told(error))
            return
        if session is not None and session.established:
            self.drop()
            self._through(session, messages, tuple(self._waiting))
        elif self._waiting:
            self._go_on()
        elif session is not None and (due_s := session.due_s()) is not None:
            self._clock = asyncio.get_running_loop().call_later(due_s, self._go_on)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()


class Open:
    """A session that is open: the device's messages are answered at once, as that takes no signer and no database."""

    __slots__ = ("_conversation", "_on_hello", "_send", "heard_s", "session", "since_s")

    def __init__(
        self, session: Session, *, now_s: float, send: Callable[[bytes], None], on_hello: Callable[[], None]
    ) -> None:
        assert session.peer is not None  # noqa: S101 - it is established
        self.session = session
        self.since_s = self.heard_s = now_s
        self._conversation = Conversation(session.peer.device_id, secrets.randbelow(_NUMBERS))
        self._send, self._on_hello = send, on_hello

    @property
    def greeted(self) -> bool:
        """Whether the device has said its Hello."""
        return self._conversation.hello is not None

    def feed(self, datagram: bytes, now_s: float) -> bool:
        """One that came for it; whether it goes on."""
        try:
            return self.answer(self.session.feed(datagram), now_s)
        except SessionError:
            return self._ended()

    def answer(self, messages: Sequence[bytes], now_s: float) -> bool:
        """Messages of the device; whether it goes on."""
        greeted = self.greeted
        try:
            for each in messages:
                self.heard_s = now_s
                for answer in self._conversation.answer(each):
                    self.session.send(answer)
        except (SessionError, ConversationError):
            return self._ended()
        if self.greeted and not greeted:
            self._on_hello()
        if self._conversation.over:
            return self._ended()
        self._flush()
        return True

    def close(self) -> None:
        """Say so to the device."""
        self._ended()

    def _ended(self) -> bool:
        self.session.close()
        self._flush()
        return False

    def _flush(self) -> None:
        for each in self.session.outgoing():
            self._send(each)


def _told(error: Exception) -> str:
    """A word for counters; what is nobody's but ours is in the log, too."""
    if isinstance(error, SessionError):
        if error.reason in _OURS:
            _log.error("signer or database did not do its part in a handshake", exc_info=error)
        return error.reason.value
    _log.error("a handshake failed", exc_info=error)
    return Reason.FAULT.value
