"""The one thread that uses memory and token, fed from the event loop: what waits while it works is its next group.

Never decides and never signs by itself. A bug in one request of a group is that request's alone: the others are settled
again without it, each by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TypeVar

from hsm.counters import Counters
from hsm.group_commit import MOST, Errand, settle
from hsm.token import TokenUnavailableError

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_PATIENCE_S = 8.0  # less than a client's own time-out, so that it hears why


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    errand: Errand
    answer: asyncio.Future[object]


class Worker:
    """Errands join the next group; calls have the thread for themselves, in their turn."""

    def __init__(self, counters: Counters, thread: Executor) -> None:
        """`thread` is an executor of one thread, best the token's own."""
        self._counters = counters
        self._thread = thread
        self._waiting: deque[_Asked] = deque()
        self._due = False
        self._calls: deque[object] = deque()  # as many as wait for the thread or have it

    async def join(self, errand: Errand) -> object:
        """The errand's answer, which may be an exception that it is refused with; raises for a bug.

        TokenUnavailableError when there is none in time: it may still be settled later, and asked for again.
        """
        asked = _Asked(errand, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._soon()
        return await _in_time(asked.answer)

    async def call(self, work: Callable[[], T]) -> T:
        """What the call returns or raises; TokenUnavailableError as for `join`."""
        self._calls.append(work)
        turn = self._thread.submit(work)
        turn.add_done_callback(lambda _: self._calls.popleft())  # also for one that is given up before its turn
        return await _in_time(asyncio.wrap_future(turn))

    async def drain(self) -> None:
        """Wait until the thread has done all that it was given, or will not in time."""
        try:
            await self.call(lambda: None)
        except TokenUnavailableError as error:
            _LOG.error("what is under way is not waited for: %s", error)

    def _soon(self) -> None:
        if not self._due:  # it stays set while errands are taken, and is taken back before it is seen that none waits
            self._due = True
            self._thread.submit(self._turn).add_done_callback(_log)

    def _turn(self) -> None:
        try:
            group = self._take(MOST)
            if group:
                self._settle(group)
        finally:
            self._due = False
            if self._waiting:
                self._soon()

    def _take(self, most: int) -> list[_Asked]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]

    def _settle(self, group: Sequence[_Asked], *, alone: bool = False) -> None:
        left = {id(each.errand): each for each in group}

        def more(most: int) -> list[Errand]:
            """Those who have come meanwhile, unless a call waits for the thread."""
            came = [] if alone or self._calls else self._take(most)
            left.update((id(each.errand), each) for each in came)
            return [each.errand for each in came]

        try:
            for answered in settle(self._counters, [each.errand for each in group], more):
                _deliver([(left.pop(id(errand)), answer) for errand, answer in answered])
        except BaseException as error:
            if alone:
                _deliver([(each, _Bug(error)) for each in left.values()])
            for each in () if alone else left.values():
                self._thread.submit(self._settle, [each], alone=True).add_done_callback(_log)
            raise


async def _in_time(answer: asyncio.Future[T]) -> T:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except TimeoutError as error:
        text = f"token or disk has not answered for {_PATIENCE_S:g} s: check the token, then ask again"
        raise TokenUnavailableError(text) from error


class _Bug:
    """Tells an exception that an errand ended with from one that is its answer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _deliver(answers: Sequence[tuple[_Asked, object]]) -> None:
    if answers:
        answers[0][0].answer.get_loop().call_soon_threadsafe(_set, answers)


def _set(answers: Sequence[tuple[_Asked, object]]) -> None:
    for asked, answer in answers:
        if asked.answer.done():  # its caller went away
            continue
        if isinstance(answer, _Bug):
            asked.answer.set_exception(answer.error)
        else:
            asked.answer.set_result(answer)


def _log(turn: Future[None]) -> None:
    error = turn.exception()
    if error is not None:
        _LOG.error("a group ended with a bug: what it has not answered is settled request by request", exc_info=error)
