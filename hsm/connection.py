"""One connection to a signer's socket, for an event loop: many requests under way, each answer to whoever asked.

Never decides what a lost connection means: `hsm.client` does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging

import msgspec

from hsm.messages import LENGTH, Answer, FrameError, Request, body_length, frame, parse_answer

_LOG = logging.getLogger(__name__)


class Connection:
    """One connection of a SignerClient: a task reads answers and hands each to whoever asked."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._last_word: Answer | None = None
        self._listening = asyncio.create_task(self._listen())

    @property
    def alive(self) -> bool:
        """Whether answers can still come."""
        return not self._listening.done()

    async def ask(self, verb: str, body: msgspec.Struct) -> Answer:
        """The answer to this request; ConnectionError when the connection ends first."""
        number = next(self._ids)
        asked = request(verb, number, body)
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            if self.alive:
                self._writer.write(asked)
                await self._writer.drain()
                return await waiting
        except ConnectionError:
            if self._last_word is None:
                raise
        finally:
            self._waiting.pop(number, None)
            waiting.cancel()  # nobody waits for it any more: what it was told, if it was, is seen
            _ = waiting.cancelled() or waiting.exception()
        if self._last_word is None:
            raise ConnectionResetError("the signer closed the connection")
        return self._last_word

    async def close(self) -> None:
        """End the reading task; whoever still waits gets a ConnectionError."""
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            while self._last_word is None:
                head = await self._reader.readexactly(LENGTH.size)
                self._deliver(parse_answer(await self._reader.readexactly(body_length(head))))
        except (OSError, asyncio.IncompleteReadError, FrameError) as error:
            _LOG.debug("connection to the signer ended: %s", error)
        finally:
            self._writer.close()
            for each in self._waiting.values():
                if not each.done():
                    each.set_exception(ConnectionResetError("the signer closed the connection"))

    def _deliver(self, answer: Answer) -> None:
        if answer.id == 0:  # the signer could not read us, or does not want us: it closes after this
            self._last_word = answer
            return
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


def request(verb: str, number: int, body: msgspec.Struct) -> bytes:
    """A request as it crosses the socket; FrameError when it is too long."""
    return frame(Request(v=1, verb=verb, id=number, body=msgspec.Raw(msgspec.json.encode(body))))
