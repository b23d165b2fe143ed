"""Open sessions at one port: one a device, the newest one, and each looked at again now and then.

On the event loop. A device whose key is good no more is put out at the next look, and not only when its day is over.
Never lets anybody in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from registry.device_service.field.known import FieldPins
from registry.pins.reading import UntrustedError
from trust.identity import DeviceId

_log = logging.getLogger(__name__)
LOOK_S: Final = 300.0
_AT_ONCE: Final = 64  # devices a step: so long a handshake may have to wait for its thread


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One device's session: the DER SubjectPublicKeyInfo that it showed, and how to end it."""

    device: DeviceId
    spki: bytes
    end: Callable[[], None]


class OpenSessions:
    """Of one port."""

    def __init__(self, pins: FieldPins, work: Executor) -> None:
        self._pins, self._work = pins, work
        self._there: dict[DeviceId, Entry] = {}

    def __len__(self) -> int:
        return len(self._there)

    def came(self, device: DeviceId, spki: bytes, end: Callable[[], None]) -> Entry:
        """It is in from now on, and its session of before is not: whoever has a key does not fill the room with it."""
        before = self._there.pop(device, None)
        if before is not None:
            before.end()
        entry = self._there[device] = Entry(device, spki, end)
        return entry

    def left(self, entry: Entry) -> None:
        """Its session is over."""
        if self._there.get(entry.device) is entry:
            del self._there[entry.device]

    async def look_every(self, seconds: float = LOOK_S) -> None:
        """For ever: who may be in no more is put out. A database that does not answer puts nobody out."""
        while True:
            await asyncio.sleep(seconds)
            await self.look()

    async def look(self) -> None:
        """Once."""
        there, loop = tuple(self._there.values()), asyncio.get_running_loop()
        for first in range(0, len(there), _AT_ONCE):
            part = there[first : first + _AT_ONCE]
            try:
                ended = await loop.run_in_executor(self._work, self._not_good, part)
            except Exception as error:  # noqa: BLE001 - of a task that nobody waits for: the next look comes all the same
                _log.error("whether devices that are in may stay could not be looked at", exc_info=error)
                return
            for each in ended:
                if self._there.get(each.device) is each:
                    each.end()

    def _not_good(self, entries: Iterable[Entry]) -> Sequence[Entry]:
        return [each for each in entries if not self._is_good(each)]

    def _is_good(self, entry: Entry) -> bool:
        try:
            return entry.spki in self._pins.keys_of(entry.device)
        except UntrustedError as error:
            _log.error(
                "stored rows do not verify: station-registry check names them", extra={"part": error.tables}
            )  # fmt: skip
            return False
