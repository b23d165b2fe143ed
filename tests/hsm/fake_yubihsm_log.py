"""A YubiHSM 2's command log as its vendor describes it, in memory: 62 entries in the recorded format, force-audit.

What it does where the descriptions leave a choice is a guess, and marked so. It signs nothing; `sign_ecdsa` only records.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hsm.token.command_log import DIGEST_BYTES, CommandLogError, LogEntry, LogPage, chained

CREATE_SESSION, AUTHENTICATE_SESSION, SIGN_ECDSA, SIGN_EDDSA, SET_LOG_INDEX = 0x03, 0x04, 0x56, 0x6A, 0x67
ERROR = 0x7F
NOBODY = 0xFFFF


class DeviceFullError(Exception):
    """The device refuses a command that it could not log."""


@dataclass
class FakeYubiHsmLog:
    """A `hsm.token.command_log.CommandLog`, and the commands that fill it. `sessions_key` is the authentication key."""

    force_audit: bool = True
    capacity: int = 62
    sessions_key: int = 1
    entries: list[LogEntry] = field(default_factory=list)
    unlogged_boots: int = 0
    unlogged_authentications: int = 0
    tick: int = 0
    signed: int = 0
    _number: int = 0
    _digest: bytes = b""

    def reset(self) -> None:
        """Back to the factory: the numbers begin anew with an entry of ones, then a boot (as recorded in public)."""
        self.entries.clear()
        self._number, self._digest = 0, os.urandom(DIGEST_BYTES)
        self._log(0xFF, length=NOBODY, session=NOBODY, target=NOBODY, second=NOBODY, result=0xFF, tick=0xFFFFFFFF)
        self.boot()

    def boot(self) -> None:
        """Power on: always happens, logged or only counted."""
        self.tick = 0
        if self._full:
            self.unlogged_boots += 1
        else:
            self._log(0x00, length=0, session=NOBODY, target=0, second=0, result=0x00)

    def open_session(self) -> None:
        """Two commands, always allowed, logged or only counted."""
        for command, length in ((CREATE_SESSION, 10), (AUTHENTICATE_SESSION, 17)):
            if self._full:
                self.unlogged_authentications += command == AUTHENTICATE_SESSION  # guess: an authentication counts once
            else:
                self._log(command, length=length, session=NOBODY, target=self.sessions_key)

    def sign_ecdsa(self, key: int, *, command: int = SIGN_ECDSA, fails: bool = False) -> None:
        """A signature with this key; DeviceFullError in force-audit with a full log."""
        if self._full:
            raise DeviceFullError("log full")
        self.signed += not fails
        self._log(command, length=34, session=self.sessions_key, target=key, result=ERROR if fails else None)

    def held(self) -> LogPage:
        """GET LOG ENTRIES; guess: not logged itself, as it is not in the vendor's example."""
        return LogPage(
            entries=tuple(self.entries),
            unlogged_boots=self.unlogged_boots,
            unlogged_authentications=self.unlogged_authentications,
        )

    def acknowledge(self, number: int) -> None:
        """SET LOG INDEX: forgets up to and including, then logs itself (as in the vendor's example)."""
        places = [place for place, each in enumerate(self.entries) if each.number == number]
        if not places:
            raise CommandLogError(f"no entry {number}")
        del self.entries[: places[0] + 1]
        self.unlogged_boots = self.unlogged_authentications = 0  # guess
        self._log(SET_LOG_INDEX, length=2, session=self.sessions_key, target=NOBODY)

    @property
    def _full(self) -> bool:
        return self.force_audit and len(self.entries) >= self.capacity

    def _log(
        self,
        command: int,
        *,
        length: int,
        session: int,
        target: int,
        second: int = NOBODY,
        result: int | None = None,
        tick: int | None = None,
    ) -> None:
        self.tick += 7
        self._number = (self._number + 1) % 0x10000
        bare = LogEntry(
            number=self._number,
            command=command,
            length=length,
            session_key=session,
            target_key=target,
            second_key=second,
            result=command | 0x80 if result is None else result,
            tick=self.tick if tick is None else tick,
            digest=bytes(DIGEST_BYTES),
        )
        self._digest = chained(bare.raw, self._digest)
        self.entries.append(LogEntry.parse(bare.raw[:-DIGEST_BYTES] + self._digest))
        del self.entries[: -self.capacity]  # without force-audit the oldest is overwritten


def fresh_device(**options: bool) -> FakeYubiHsmLog:
    """A device after its first boot."""
    device = FakeYubiHsmLog(**options)
    device.reset()
    return device
