"""Writing to a device as "make it so": already true → done; false → write and read back; different → conflict.

A time-out after a write is not failure: the state is read back, over a reopened link if need be. What cannot be read
back is *outcome unknown*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fixtures.device import DeviceError, NoAnswerError
from station.faults import fault

T = TypeVar("T")
_WRITE_TRIES = 2
_READ_TRIES = 3
_PAUSE_S = 0.05


async def make_so(
    wanted: T,
    *,
    read: Callable[[], Awaitable[T | None]],
    write: Callable[[], Awaitable[None]],
    reopen: Callable[[], Awaitable[None]],
    differs: str,
) -> None:
    """Bring the device to the wanted state; raises the fault `differs` or outcome-unknown."""
    before = found = await read()
    lost: NoAnswerError | None = None
    for _ in range(_WRITE_TRIES):
        if found == wanted:
            return
        try:
            await write()
        except NoAnswerError as unanswered:
            lost, found = unanswered, await _read_after_silence(read, reopen, unanswered)
        else:
            lost, found = None, await read()
    if found == wanted:
        return
    if lost is not None and found == before:
        raise lost  # the writes never arrived and nothing changed: a bad line, not a bad unit
    raise fault(differs, "written, and read back otherwise")


async def _read_after_silence(
    read: Callable[[], Awaitable[T | None]], reopen: Callable[[], Awaitable[None]], unanswered: NoAnswerError
) -> T | None:
    for _ in range(_READ_TRIES):
        try:
            await reopen()
            return await read()
        except DeviceError:
            await asyncio.sleep(_PAUSE_S)
    raise fault("outcome-unknown", str(unanswered)) from unanswered
