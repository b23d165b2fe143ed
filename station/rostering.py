"""The newest roster, fetched from the registry and kept beside the ledger, which remembers that it was taken up.

The file holds verifiers and is the owner's alone; the log, which auditors get, has its number and hash
(docs/decisions/0023). So an older file that somebody puts back is noticed. A registry that is away, or gives what does
not hold, stops no line: the roster that is kept holds until it is over.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import given
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.jobs.stamp import Stamp
from station.whole_file import write_whole
from trust import roster as rosters
from trust.dsse import Envelope, EnvelopeError
from trust.printable import plainly
from trust.root import RootError, TrustedRoot
from trust.roster import Roster
from trust.statement import Event, StatementError

_LOG = logging.getLogger(__name__)
TAKEN_UP = "roster-taken-up"


class RosterError(Exception):
    """There is no roster that may be used; the text says why and what to do."""


class Registry(Protocol):
    """The registry, as far as it issues rosters."""

    async def roster(self) -> Envelope:
        """The newest roster."""


class Events(Protocol):
    """Where it stands which roster was taken up."""

    async def last_event(self, kind: str) -> Event | None:
        """The newest event of this kind."""

    async def note(self, event: Event) -> None:
        """Append an event."""


def beside(database: Path) -> Path:
    """The file that belongs to a ledger."""
    return database.with_name(database.name + ".roster")


async def keep_roster(cloud: Registry, root: TrustedRoot, events: Events, stamp: Stamp, database: Path) -> None:
    """Fetch the newest roster and keep it, if it is newer than what was taken up; what stands in the way is logged.

    LedgerError goes through.
    """
    if root.root.roster_key is None:
        return
    try:
        envelope = await cloud.roster()
        roster = rosters.issued(root, envelope)
        await _take_up(envelope, roster, events, stamp, database)
    except CloudUnreachableError as error:  # the flow says so itself, of each unit that it holds
        _LOG.info("the roster was not fetched: %s", error)
    except CloudRefusedError as error:
        _LOG.warning("the roster was not fetched: %s", error)
    except (StatementError, RootError, RosterError) as error:
        _LOG.error("the registry's roster is not taken: %s", error)
    except OSError as error:
        _LOG.error("%s: the roster cannot be kept: %s", beside(database), plainly(error))


async def _take_up(envelope: Envelope, roster: Roster, events: Events, stamp: Stamp, database: Path) -> None:
    now = stamp.now()
    if rosters.is_over(roster, now):
        raise RosterError(f"number {roster.serial} was over at {roster.expires_at}, and it is {now:%Y-%m-%dT%H:%M:%SZ}")
    _require_made(roster, now)
    if not _must_take(roster, envelope, await events.last_event(TAKEN_UP)) and _is_kept(envelope, database):
        return
    write_whole(beside(database), envelope.to_json())
    # A crash right here: the file is newer than what is on record, which is taken; the next batch puts it on record.
    details = {"serial": str(roster.serial), "sha256": envelope.payload_sha256}
    if _must_take(roster, envelope, await events.last_event(TAKEN_UP)):
        await events.note(stamp.event(TAKEN_UP, details=details))


def _require_made(roster: Roster, now: datetime) -> None:
    """It was made before now: one of a wrong clock would hold longer by as much as that is ahead; RosterError."""
    if rosters.is_ahead(roster, now):
        text = f"number {roster.serial} was made at {roster.made_at}, and it is {now:%Y-%m-%dT%H:%M:%SZ}"
        raise RosterError(f"{text}. Correct the clock that is wrong, here or at the registry, and start a batch")


def _must_take(roster: Roster, envelope: Envelope, seen: Event | None) -> bool:
    """Whether it is newer than what was taken up; RosterError if it is older, or another one of the same number."""
    if seen is None:
        return True
    serial, sha256 = int(seen.details["serial"]), seen.details["sha256"]
    if roster.serial < serial:
        text = f"number {roster.serial} of {roster.made_at} is an old one: {serial} was taken up here"
        raise RosterError(f"{text}. Fetch the newest: start a batch while the registry answers")
    if roster.serial == serial and envelope.payload_sha256 != sha256:
        raise RosterError(f"another number {serial} was taken up here. Call the security officer")
    return roster.serial > serial


def read_kept(database: Path, root: TrustedRoot, seen: Event | None, now: datetime) -> Roster:
    """The roster that is kept; RosterError if nobody may sign in by it. `seen`: the newest event of TAKEN_UP."""
    try:
        envelope = Envelope.from_json(given.read(beside(database)))
        roster = rosters.issued(root, envelope)
    except FileNotFoundError as error:
        text = "none kept" if seen is None else f"number {seen.details['serial']} was taken up, and its file is gone"
        raise RosterError(f"{text}. Start a batch while the registry answers: it is fetched then") from error
    except OSError as error:
        raise RosterError(f"{beside(database)}: {plainly(error)}. Let the station's user read it") from error
    except (EnvelopeError, StatementError, RootError) as error:
        raise RosterError(f"{beside(database)}: {error}. Start a batch while the registry answers") from error
    _must_take(roster, envelope, seen)
    _require_made(roster, now)
    if rosters.is_over(roster, now):
        text = f"number {roster.serial} of {roster.made_at} was over at {roster.expires_at}: nobody signs in by it"
        raise RosterError(f"{text}. Start a batch while the registry answers")
    return roster


def in_words(roster: Roster, now: datetime) -> str:
    """Number, age and end of a roster, for who looks before the shift."""
    hours = int((now - datetime.fromisoformat(roster.made_at)).total_seconds()) // 3600
    age = f"{hours // 24} days" if hours >= 48 else f"{max(hours, 0)} hours"  # noqa: PLR2004 - two days
    people = f"{len(roster.people)} people" if len(roster.people) != 1 else "1 person"
    end = datetime.fromisoformat(roster.expires_at).astimezone(UTC)
    return f"number {roster.serial}, {people}, {age} old, until {end:%Y-%m-%d %H:%M} UTC"


def _is_kept(envelope: Envelope, database: Path) -> bool:
    try:
        return given.read(beside(database)) == envelope.to_json()
    except OSError:
        return False
