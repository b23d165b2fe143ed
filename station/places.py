"""Whose turn it is: how many units of a batch may still begin, and when the next one is in a slot. Holds no verdict."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from fixtures.device import DeviceError, RefusedError
from fixtures.presence import wait_for_device, wait_for_removal
from fixtures.slot import Slot
from trust.identity import DeviceId

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 0.5


class Places:
    """How many units may still begin; shared by the slots of a batch."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.all_taken = asyncio.Event()

    def take(self) -> bool:
        """One place, if there is one."""
        if self._left == 0:
            return False
        self._left -= 1
        if self._left == 0:
            self.all_taken.set()
        return True


async def another_unit(slot: Slot, previous: str) -> None:
    """Return when another unit is in, or the same one again; without a previous id, when a unit says who it is.

    Waits through a port that is busy or gone: whoever cures that need not start the batch again.
    """
    while True:
        try:
            if previous:
                await wait_for_removal(slot, DeviceId.parse(previous))
            await wait_for_device(slot)
        except DeviceError as error:
            if previous and isinstance(error, RefusedError):
                return  # somebody is there and will not say who: the attempt names what is wrong
            log.info("slot %s: %s", slot.config.name, error)
            await asyncio.sleep(_LOOK_AGAIN_S)
        else:
            return


async def first_of(*ways: Coroutine[Any, Any, object]) -> None:
    """Return when one of them has; the others are cancelled and have ended, too."""
    tasks = [asyncio.create_task(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
