"""A finished unit that got another key by an approved act: no clone, and its job is about the key that it had before.

Such a unit is turned away by name, and set aside by nobody: what it is, was verified when it was reworked. One that an
act has opened since is locked again. Taken on no bare word: ledger or registry have to prove the act, and the unit its
key. Never passes a unit.
"""

from __future__ import annotations

import secrets

from station import checks
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.devices import Asks, Devices
from station.events import Verdict
from station.evidence import Assigned
from station.faults import Fault, fault
from station.jobs import RecordKind
from station.jobs.leaf import REWORK_ENDED
from station.line import Line
from station.statements import anchor_of, locked_again
from station.unit import Unit
from station.writes import make_so
from trust.keys import PublicKey
from trust.proof import CHALLENGE_BYTES
from trust.statement import StatementError

_NEW_KEY = "new-key"


async def right_key(line: Line, unit: Unit, assigned: Assigned, key: PublicKey) -> None:
    """As `checks.right_key`; `unit-rekeyed` for the key of an approved act, `registry-needed` if only it could tell."""
    try:
        checks.right_key(line, key, assigned.registered, assigned.records)
    except Fault as found:
        if not _finished(assigned):
            raise
        act = await _by_ledger(line, assigned, key) or await _by_registry(line, assigned, key)
        if act is None and not assigned.identified.asked:
            raise fault("registry-needed", f"{found.code}: {found.detail}") from found
        if act is None:
            raise
        await unit.possession(secrets.token_bytes(CHALLENGE_BYTES), "verify", key, assigned.identity)
        closed = "" if assigned.identity.locked else f"; {await _locked(line, unit, assigned, key)}"
        raise fault("unit-rekeyed", f"key {key.fingerprint}, by act {act}{closed}") from found


async def _locked(line: Line, unit: Unit, assigned: Assigned, key: PublicKey) -> str:
    """What became of an open one: locked, tried and on record, if it has the order's anchor."""
    identity, job, anchor = assigned.identity, assigned.job.job_id, anchor_of(line)
    if await unit.read_anchor() != anchor:
        return "it is open, and stays so: its anchor is not the order's"
    await make_so(
        True, read=unit.locked, write=lambda: unit.device.lock(job), reopen=unit.open, differs="lock-not-holding"
    )
    await unit.unchanged(identity, (await unit.cycle()).identity, key, job, anchor)
    await unit.write_refused(anchor)
    await line.jobs.note(locked_again(line, identity.device_id))
    return "it was open, and is locked again"


def _finished(assigned: Assigned) -> bool:
    there = assigned.registered
    return RecordKind.COMPLETION in assigned.records or (there is not None and there.completion is not None)


async def _by_ledger(line: Line, assigned: Assigned, key: PublicKey) -> str | None:
    """The act by which this station gave it the key that it has; None if it had another one after that."""
    told = await line.jobs.told_of(assigned.identity.device_id, (REWORK_ENDED,))
    said = [each.details for each in told]
    new = [each for each in said if (each.get("change"), each.get("verdict")) == (_NEW_KEY, Verdict.PASS.value)]
    return new[-1]["act_sha256"] if new and new[-1].get("fingerprint") == key.fingerprint else None


async def _by_registry(line: Line, assigned: Assigned, key: PublicKey) -> str | None:
    """The act by which the registry has pinned that key as the newest: act, approvals and receipt hold."""
    if not isinstance(line.cloud, Asks):
        return None
    try:
        held = await Devices(line.cloud).held(assigned.identity.device_id)
        return None if held is None else held.gave_key(key.fingerprint, line.root)
    except (CloudUnreachableError, CloudRefusedError):
        return None
    except StatementError as error:
        raise fault("registry-wrong", str(error)) from error
