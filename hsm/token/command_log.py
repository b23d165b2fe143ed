"""The command log of a module that keeps one, and the drain that takes its entries away without losing any.

The format is YubiHSM 2's: entries of 32 bytes, numbered, each digest over the entry and the digest before it. Sources:
Yubico's GET LOG ENTRIES and SET LOG INDEX; yubihsm-shell, yh_verify_logs; the chain was recomputed over the vendor's
own example, which the tests hold. Entries are durable in a store before the device may forget them. A seam: it speaks
to no device, never mends a broken chain and never skips a gap.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Protocol, Self

ENTRY_BYTES: Final = 32
DIGEST_BYTES: Final = 16
_FORMAT: Final = struct.Struct(">HBHHHHBI16s")
_NUMBERS: Final = 1 << 16
_BOOT: Final = 0x00
_RESET: Final = 0xFF
_DONE: Final = 0x80  # a command's answer is its own code with this bit; an error's is 0x7f
SIGNING_COMMANDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x47: "SIGN PKCS1",
        0x55: "SIGN PSS",
        0x56: "SIGN ECDSA",
        0x5D: "SIGN SSH CERTIFICATE",
        0x64: "SIGN ATTESTATION CERTIFICATE",
        0x6A: "SIGN EDDSA",
    }
)


class CommandLogError(Exception):
    """The log cannot be believed, or not be kept: stop, and find out why. Nothing was acknowledged."""


class LogGapError(CommandLogError):
    """Entries are missing: overwritten before they were read, or taken away by somebody else."""


class LogChainError(CommandLogError):
    """An entry's digest does not follow from the one before it: entries were changed, or are another device's."""


class LogResetError(CommandLogError):
    """The device was reset to its factory state since the last entry: its keys are gone, or are others'."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One command as the device recorded it. `tick` is the device's clock, restarted at each boot."""

    number: int
    command: int
    length: int
    session_key: int
    target_key: int
    second_key: int
    result: int
    tick: int
    digest: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """From the 32 bytes of the device; CommandLogError."""
        if len(raw) != ENTRY_BYTES:
            raise CommandLogError(f"a log entry has {ENTRY_BYTES} bytes, got {len(raw)}")
        number, command, length, session, target, second, result, tick, digest = _FORMAT.unpack(raw)
        return cls(
            number=number,
            command=command,
            length=length,
            session_key=session,
            target_key=target,
            second_key=second,
            result=result,
            tick=tick,
            digest=digest,
        )

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return _FORMAT.pack(
            self.number,
            self.command,
            self.length,
            self.session_key,
            self.target_key,
            self.second_key,
            self.result,
            self.tick,
            self.digest,
        )

    def follows(self, before: LogEntry) -> bool:
        """Whether the digest is the one of this entry after that one."""
        return hmac.compare_digest(self.digest, chained(self.raw, before.digest))

    @property
    def is_boot(self) -> bool:
        """Power came, or the device restarted."""
        return self.command == _BOOT

    @property
    def is_reset(self) -> bool:
        """The first entry of all after a reset to the factory state: every field is ones."""
        return self.command == _RESET

    @property
    def is_signature(self) -> bool:
        """A signature was made; a signing command that was refused is none."""
        return self.command in SIGNING_COMMANDS and self.result == self.command | _DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """All that the device still holds, oldest first, and how many events it could not log for want of room."""

    entries: tuple[LogEntry, ...]
    unlogged_boots: int = 0
    unlogged_authentications: int = 0


class CommandLog(Protocol):
    """A device's log. Blocking; raises CommandLogError only."""

    @property
    def capacity(self) -> int:
        """How many entries it holds: 62 on a YubiHSM 2."""

    @property
    def force_audit(self) -> bool:
        """Whether it refuses commands when full; without, it overwrites the oldest entry."""

    def held(self) -> LogPage:
        """What it holds and nobody has acknowledged."""

    def acknowledge(self, number: int) -> None:
        """Let it forget all entries up to this one, itself included."""


class LogStore(Protocol):
    """Where entries are kept for good."""

    def last(self) -> LogEntry | None:
        """The newest entry kept."""

    def append(self, entries: Sequence[LogEntry]) -> None:
        """Keep them: on return they survive a crash, all or (after a crash within) a first part of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain found. `was_full` and the unlogged counts mean that the drain comes too seldom."""

    fresh: tuple[LogEntry, ...]
    was_full: bool
    unlogged_boots: int
    unlogged_authentications: int

    @property
    def boots(self) -> tuple[LogEntry, ...]:
        """The device's restarts among the fresh entries."""
        return tuple(each for each in self.fresh if each.is_boot)


def drain(log: CommandLog, store: LogStore) -> Drained:
    """Take what is new from the device into the store, then let the device forget it; CommandLogError.

    A crash at any point loses and doubles nothing: what is stored and not acknowledged is read again and known again.
    """
    page = log.held()
    fresh = _verified(store.last(), page.entries)
    if fresh:
        store.append(fresh)
    # Durable from here on. A crash right here: the next drain finds these entries in the store and only acknowledges.
    if page.entries:
        log.acknowledge(page.entries[-1].number)
    return Drained(
        fresh=fresh,
        was_full=len(page.entries) >= log.capacity,
        unlogged_boots=page.unlogged_boots,
        unlogged_authentications=page.unlogged_authentications,
    )


def signature_count(entries: Iterable[LogEntry]) -> Mapping[int, int]:
    """Signatures made by the device, by key id: what the signer's own books must come to for each key."""
    counts: dict[int, int] = {}
    for entry in entries:
        if entry.is_signature:
            counts[entry.target_key] = counts.get(entry.target_key, 0) + 1
    return MappingProxyType(counts)


def require_unbroken(entries: Iterable[LogEntry]) -> None:
    """Numbers and digests of entries kept follow one another, from the first on; CommandLogError names the first fault.

    Nothing precedes the first, so a log whose beginning was cut off looks whole.
    """
    for before, entry in pairwise(entries):
        _require_next(before, entry)


def chained(raw: bytes, before: bytes) -> bytes:
    """The digest of an entry (its 32 bytes, whose last 16 do not count) after one with the digest `before`."""
    return hashlib.sha256(raw[: ENTRY_BYTES - DIGEST_BYTES] + before).digest()[:DIGEST_BYTES]


def _verified(last: LogEntry | None, held: Sequence[LogEntry]) -> tuple[LogEntry, ...]:
    """What is new among the entries held, after the last one kept; the first entry of all has none to follow."""
    known = held.index(last) if last in held else None
    if last is not None and known is None and held:
        if any(each.is_reset for each in held):
            raise LogResetError("the device was reset to its factory state: keep its log, and make the signer anew")
        if any(each.number == last.number for each in held):
            raise LogChainError(f"entry {last.number} is not the one that was kept: is this another device?")
        _require_next(last, held[0])
    require_unbroken(held)
    return tuple(held if known is None else held[known + 1 :])


def _require_next(before: LogEntry, entry: LogEntry) -> None:
    missing = (entry.number - before.number - 1) % _NUMBERS
    if missing:
        raise LogGapError(
            f"after entry {before.number} comes {entry.number}: {missing} are missing, overwritten or taken by others"
        )
    if not entry.follows(before):
        raise LogChainError(f"entry {entry.number} does not follow from {before.number}: its digest is another")
