"""One device's TCP connection: when what may come, and when it ends. Never says anything to whom it refuses.

From a device's message 2 to the end of one that is refused it is always the same time, whatever was wrong and however
long the signer took: nobody learns by it whether a padding was right. Message 3 leaves on a beat, so that it tells
little of what the signer does for others at the same time. Whether a device is pinned, and how long its key is, message
3 tells whoever has the cloud's public key and its id. What a signer answers later than that time opens no session.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from hsm.signer import SignerError, SignerUnavailableError
from registry.device_service.tcp.conversation import Conversation
from registry.device_service.tcp.handshake import (
    MESSAGE_2_BYTES,
    Accepted,
    Handshake,
    Pins,
    RefusedHandshakeError,
    TcpKeys,
)
from registry.device_service.tcp.session import SessionError
from registry.device_service.work import beside

_log = logging.getLogger(__name__)
_NUMBERS: Final = 65_535
FAULT: Final = "fault"
"""Why a handshake was refused that no device was the cause of: database, stored rows, or a bug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds: for message 2, from it to the end of a refused one, for the first message after 3, of silence, in all.

    Message 3 leaves a whole number of `beat_s` after message 2, at once where that is 0: what other connections keep
    the signer busy with shows in it that much less. A session ends in the end, whoever it is.
    """

    message_2_s: float = 10.0
    refused_s: float = 1.0
    beat_s: float = 0.1
    hello_s: float = 10.0
    silence_s: float = 31.0
    longest_s: float = 86_400.0


class Ended(Enum):
    """Why a connection is over, for counters."""

    LEFT = "left"
    LATE = "late"
    REFUSED = "refused"
    ODD = "odd"
    KEY_CHANGE = "key-change"


_TO_THE_LAST_BYTE: Final = frozenset({Ended.REFUSED, Ended.KEY_CHANGE})
_READ_S: Final = 5.0  # for the last answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What all connections share, or those of one place. `work` runs what blocks.

    `opened`, `refused` (with a word for counters) and `ended` are told of each, on the loop.
    """

    keys: TcpKeys
    pins: Pins
    work: Executor
    times: Times = Times()
    opened: Callable[[Accepted], None] = lambda _: None
    refused: Callable[[str], None] = lambda _: None
    ended: Callable[[Ended], None] = lambda _: None


class Connection(asyncio.Protocol):
    """From its nonce to its end."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._handshake = Handshake.begin(service.keys, service.pins)
        self._came = b""
        self._asked = False
        self._accepted: Accepted | None = None
        self._conversation: Conversation | None = None
        self._transport: asyncio.Transport | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._asking: Future[Accepted] | None = None
        self._asked_s = self._until_s = 0.0
        self._why = Ended.LEFT

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Message 1 goes out."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a listening socket makes no others
        self._transport = transport
        transport.write(self._handshake.nonce)
        self._within(self._service.times.message_2_s, Ended.LATE)

    def data_received(self, data: bytes) -> None:
        """Message 2, or the session's bytes."""
        if self._conversation is not None:
            self._talk(self._conversation, data)
            return
        self._came += data[: MESSAGE_2_BYTES + 1 - len(self._came)]
        if len(self._came) >= MESSAGE_2_BYTES and not self._asked:
            self._ask()

    def pause_writing(self) -> None:
        """It asks and does not read: what it is owed is not kept for it."""
        self._end(Ended.ODD)

    def connection_lost(self, _: Exception | None) -> None:
        """Nothing of it goes on."""
        self._stop_clock()
        if self._asking is not None:
            self._asking.cancel()  # nobody waits for it any more
        self._transport = None
        self._service.ended(self._why)

    def _ask(self) -> None:
        """Judge message 2 beside the loop; the time to the end of a refused one runs from now on."""
        self._asked = True
        self._within(self._service.times.refused_s, Ended.REFUSED)
        self._asked_s = asyncio.get_running_loop().time()
        accept = partial(self._handshake.accept, self._came[:MESSAGE_2_BYTES])
        self._asking = beside(self._service.work, accept, self._judged)

    def _judged(self, done: Future[Accepted]) -> None:
        if done.cancelled():
            return
        self._asking = None
        try:
            accepted = done.result()
        except Exception as error:  # noqa: BLE001 - whatever it was, the clock ends it, at the one time
            self._service.refused(reason_of(error))
            return
        if (beat_s := self._service.times.beat_s) > 0:
            loop = asyncio.get_running_loop()
            loop.call_later((self._asked_s - loop.time()) % beat_s, self._go_on, accepted)
        else:
            self._go_on(accepted)

    def _go_on(self, accepted: Accepted) -> None:
        if self._transport is None or self._transport.is_closing() or len(self._came) > MESSAGE_2_BYTES:
            return
        self._accepted = accepted
        self._conversation = Conversation(accepted.credentials, secrets.randbelow(_NUMBERS) + 1)
        self._transport.write(accepted.message_3)
        self._within(self._service.times.hello_s, Ended.LATE)

    def _talk(self, conversation: Conversation, data: bytes) -> None:
        greeted = conversation.hello is not None
        try:
            answer = conversation.feed(data)
        except SessionError:
            self._end(Ended.ODD)
            return
        if self._transport is None:
            return
        self._transport.write(answer)
        if conversation.hello is None:
            return  # the clock of the first message runs on
        now_s = asyncio.get_running_loop().time()
        if not greeted and self._accepted is not None:
            self._until_s = now_s + self._service.times.longest_s
            self._service.opened(self._accepted)
        if conversation.over:
            self._end(Ended.KEY_CHANGE)
        elif now_s >= self._until_s:
            self._end(Ended.LATE)
        else:
            self._within(self._service.times.silence_s, Ended.LATE)

    def _within(self, seconds: float, otherwise: Ended) -> None:
        self._stop_clock()
        self._clock = asyncio.get_running_loop().call_later(seconds, self._end, otherwise)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    def _end(self, why: Ended) -> None:
        self._why = why
        self._stop_clock()
        if self._transport is None:
            return
        if why in _TO_THE_LAST_BYTE:
            self._transport.close()
            self._clock = asyncio.get_running_loop().call_later(_READ_S, self._transport.abort)
        else:
            self._transport.abort()


def reason_of(error: Exception) -> str:
    """A word for counters; what is nobody's but ours is in the log, too."""
    match error:
        case RefusedHandshakeError():
            return error.reason
        case SignerError() | SignerUnavailableError():
            _log.error("the cloud signer did not do its part in a handshake", exc_info=error)
            return "not-signed"
    _log.error("a handshake failed", exc_info=error)
    return FAULT
