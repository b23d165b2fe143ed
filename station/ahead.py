"""Work begun before its result is needed, so that device, signer and ledger are busy at the same time.

A read, a challenge, a record: dropped when nobody needs the result any more. What writes to the unit is never cut
short: it is finished. Never decides; who takes the result does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """One piece of work: begun, then taken once or dropped."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to take."""
        return self._task is not None

    def begin(self, work: Coroutine[Any, Any, T]) -> None:
        """Begin now; RuntimeError unless what was begun before was taken or dropped."""
        if self._task is not None:
            work.close()
            raise RuntimeError("begun before, and neither taken nor dropped")
        self._task = asyncio.create_task(work)

    async def take(self) -> T:
        """Its result, or what it raised, once; RuntimeError if nothing was begun."""
        task, self._task = self._task, None
        if task is None:
            raise RuntimeError("nothing was begun")
        return await task

    async def drop(self) -> None:
        """End it if it is under way: nobody needs its result any more, and the step that ended the attempt told why."""
        if self._task is not None:
            self._task.cancel()
        await self.finish()

    async def finish(self) -> None:
        """Wait for its end if it is under way, and forget its result: for what must not be cut short."""
        task, self._task = self._task, None
        if task is None:
            return
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()


async def drop(*begun: Ahead[Any]) -> None:
    """End all of them."""
    for each in begun:
        await each.drop()


async def meanwhile(look: Coroutine[Any, Any, None], work: Awaitable[T]) -> T:
    """The work's result, with the look beside it: when the work is done and the look has found nothing wrong."""
    beside: Ahead[None] = Ahead()
    beside.begin(look)
    try:
        done = await work
        await beside.take()
    finally:
        await beside.drop()
    return done
