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
    """One piece of work: begun, then taken once, dropped or finished."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    @property
    def begun(self) -> bool:
        """Whether there is something to take."""
        return self._task is not None

    def begin(self, work: Coroutine[Any, Any, T]) -> None:
        """Begin now; RuntimeError unless what was begun before was taken, dropped or finished."""
        if self._task is not None:
            work.close()
            raise RuntimeError("begun before, and neither taken, dropped nor finished")
        self._task = asyncio.create_task(work)

    async def take(self) -> T:
        """Its result, or what it raised, once; RuntimeError if nothing was begun.

        Whoever is cancelled while he waits does not cancel the work: it is still to be dropped or finished.
        """
        task = self._task
        if task is None:
            raise RuntimeError("nothing was begun")
        try:
            return await asyncio.shield(task)
        finally:
            if task.done():
                self._task = None

    async def drop(self) -> None:
        """End it if it is under way: nobody needs its result any more, and the step that ended the attempt told why."""
        if self._task is not None:
            self._task.cancel()
        await self.finish()

    async def finish(self) -> BaseException | None:
        """Wait for its end if it is under way: for what must not be cut short. What it has raised, if anything."""
        task = self._task
        if task is None:
            return None
        await asyncio.wait({task})
        self._task = None
        return None if task.cancelled() else task.exception()


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
