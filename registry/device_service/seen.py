"""Random values that devices have used in handshakes, fleet-wide: who uses one a second time has poor randomness.

Or plays something back. Either way the handshake is refused, and an alarm is raised: the device's keys may be as poor.
A constraint of the database decides, so that no two processes let one through each. Hashes only, for a year.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from registry.access.sweeping import Sweeper, old
from registry.clock import utc_now
from registry.database import Database
from registry.device_service.udp.transcript import Exchanged
from registry.tables import device_randoms

_log = logging.getLogger(__name__)
_KEPT: Final = timedelta(days=366)
_SWEEP_S: Final = 600.0
_OLD: Final = old(device_randoms)


@dataclass(frozen=True, slots=True)
class SeenRandoms:
    """What one registry's database remembers. Safe to call from many threads; blocks as long as the database."""

    database: Database
    now: Callable[[], datetime] = utc_now
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        made = Sweeper(self.database, self.now, sweep=_sweep, every_s=_SWEEP_S)
        object.__setattr__(self, "sweeper", made)

    def repeated(self, exchanged: Exchanged) -> str:
        """What of a finished handshake was there in an earlier one, in words; empty if nothing, and then it is kept."""
        wanted = {
            kind: hashlib.sha256(kind.encode() + b"\0" + value).digest()
            for kind, value in (
                ("client random", exchanged.client_random),
                ("ephemeral point", exchanged.client_point),
            )
        }
        until = int((self.now() + _KEPT).timestamp())
        rows = [{"sha256": sha256, "kind": kind, "expires_at": until} for kind, sha256 in wanted.items()]
        try:
            # Once, and never over again: of a commit whose end is not known the second try would be a repeat.
            with self.database.write() as connection:
                connection.execute(insert(device_randoms), rows)
        except IntegrityError:
            return self._named(wanted)
        self.sweeper.sweep_if_due()
        return ""

    def _named(self, wanted: dict[str, bytes]) -> str:
        query = select(device_randoms.c.sha256).where(device_randoms.c.sha256.in_(list(wanted.values())))
        with self.database.read() as connection:
            there = {bytes(each) for each in connection.scalars(query)}
        what = " and ".join(kind for kind, sha256 in wanted.items() if sha256 in there) or "one of both"
        _log.error(
            "ALARM: a device used a random value of another handshake: its randomness is poor, or it was played back",
            extra={"part": what},
        )
        return what


def _sweep(connection: Connection, now_s: int) -> int:
    return connection.execute(_OLD, {"now": now_s}).rowcount
