"""Threads beside the event loop, for what blocks: signer and database. Never decides what is done in them.

At the end what waits is dropped, and what is under way is waited for, as long as signer and database take to fail.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)
ENDS_S: Final = 11.0
"""A signer that hangs is asked twice, 5 seconds each; a database is given up after 10."""


def beside(work: Executor, act: Callable[[], T], then: Callable[[Future[T]], None]) -> Future[T]:
    """`act` in a thread; `then` gets what came of it on the loop, unless that is closed by then."""
    loop = asyncio.get_running_loop()
    asked = work.submit(act)
    asked.add_done_callback(lambda done: _handed(loop, lambda: then(done)))
    return asked


@asynccontextmanager
async def threads(many: int, *names: str, ends_s: float = ENDS_S) -> AsyncIterator[Sequence[ThreadPoolExecutor]]:
    """So many threads for each of these, while the block runs."""
    made = [ThreadPoolExecutor(many, thread_name_prefix=each) for each in names]
    try:
        yield made
    finally:
        for each in made:
            each.shutdown(wait=False, cancel_futures=True)
        await _through(made, ends_s)


async def _through(made: Sequence[Executor], within_s: float) -> None:
    """Until nobody works: what they hand back still finds the loop, and lines and database are still open for them."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        for each in made:
            each.shutdown()
        _handed(loop, over.set)

    threading.Thread(target=wait, daemon=True).start()
    try:
        async with asyncio.timeout(within_s):
            await over.wait()
    except TimeoutError:
        _log.warning("signer or database still had not answered at the end")


def _handed(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:  # of a thread that took longer than its end was waited for
        if not loop.is_closed():
            raise
