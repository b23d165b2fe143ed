"""Minutes of ceremonies and of keys' ends put on record, whether the signer answers or not.

A signer whose key was destroyed answers no more, and it is its minutes that tell why: they go into the ledger there is,
and a later checkpoint covers them. Never begins a ledger without the signer's word that there was none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import given
from station import config as settings
from station import wiring
from station.agreement import publish, take_up_root
from station.alone import alone_with
from station.faults import Fault
from station.jobs.store import JobStore
from station.leaves import LEAF_ERRORS, classify
from station.plan import agree
from station.root import load_root
from station.usage import UsageError
from trust.dsse import Envelope, EnvelopeError
from trust.kinds import MINUTES, wrong_kind
from trust.minutes import Minutes, approved_minutes
from trust.root import TrustedRoot
from trust.statement import StatementError

_AWAY = "signer-down"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paper:
    envelope: Envelope
    minutes: Minutes


def minutes_for(envelope: Envelope, trusted: TrustedRoot, station: str) -> Minutes:
    """Minutes that this station keeps: approved, and of its own signer or of its registry's; StatementError."""
    minutes = approved_minutes(envelope, trusted)
    if minutes.role == "factory" and minutes.signer != station:
        raise StatementError(f"they are of the signer of {minutes.signer!r}: have them kept there, this is {station!r}")
    return minutes


async def keep_minutes(config_file: Path, file: Path) -> tuple[Minutes, str]:
    """Approved minutes of this station's signer, or of its registry's, go on record and are published.

    When the signer does not answer they are on record, and why no checkpoint covers them comes with them.
    """
    try:
        async with wiring.open_desk(config_file) as desk:
            paper = _read(file, desk.root, desk.store.station)
            await _keep(desk.store, paper)
            # A crash here, or a signer that goes: they are on record. The same file again has them published.
            await publish(desk.root, desk.signer, desk.store)
            return paper.minutes, ""
    except Fault as error:
        if error.code != _AWAY:
            raise
        away = error
    async with _ledger_alone(config_file, away) as (root, store):
        paper = _read(file, root, store.station)
        await _keep(store, paper)
    return paper.minutes, str(away.detail)


@asynccontextmanager
async def _ledger_alone(config_file: Path, away: Fault) -> AsyncIterator[tuple[TrustedRoot, JobStore]]:
    """The station's ledger without its signer; the signer's fault where there is none yet.

    Whether it goes on from the signer's last head cannot be asked; whoever next asks finds out, as at every start.
    """
    config, paths = settings.load(config_file)
    root = load_root(paths.root)
    agree(config, root)
    if not wiring.begun(paths.database):
        raise away
    with alone_with(paths.database):
        place = _Place(config=config, paths=paths, root=root)
        store = wiring.open_store(place)
        try:
            await take_up_root(store, root, wiring.stamp_of(config, root))
            yield root, store
        finally:
            await store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot


def _read(file: Path, root: TrustedRoot, station: str) -> _Paper:
    try:
        data = given.read(file)
    except OSError as error:
        raise UsageError(f"minutes {file}: {error.strerror}; name the minutes' file") from error
    if (wrong := wrong_kind(data, MINUTES)) is not None:
        raise UsageError(f"{file} {wrong}")
    try:
        envelope = Envelope.from_json(data.strip())
        return _Paper(envelope=envelope, minutes=minutes_for(envelope, root, station))
    except (EnvelopeError, StatementError) as error:
        raise UsageError(f"minutes {file}: {error}") from error


async def _keep(store: JobStore, paper: _Paper) -> None:
    try:
        await store.keep_paper(paper.envelope)
    except LEAF_ERRORS as error:
        raise classify(error) from error
