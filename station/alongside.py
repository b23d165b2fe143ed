"""Work beside a batch that ends with it, such as the hourly balance. Never decides what its end means."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def alongside(work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run this beside the block, and end it with the block. A bug in it ends only this, and is logged at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_log_bug)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _log_bug(task: asyncio.Task[None]) -> None:
    bug = None if task.cancelled() else task.exception()
    if bug is not None:
        _LOG.error("the hourly balance ended with a bug", exc_info=bug)
