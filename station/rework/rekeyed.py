"""A finished unit that got another key by an approved act: no clone, and its job is about the key that it had before.

Such a unit is turned away by name, and set aside by nobody: what it is, was verified when it was reworked. One that an
act may have opened since is made whole again first. Taken on no bare word: ledger or registry have to prove the act,
and the unit its key. Never passes a unit.
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
from station.locking import locked
from station.rework.look import Look, named, of_order, words_now
from station.rework.reworked import left_as
from station.statements import anchor_of, verified_again
from station.unit import Unit
from trust.keys import PublicKey
from trust.proof import CHALLENGE_BYTES
from trust.statement import StatementError

_NEW_KEY = "new-key"


async def act_of(line: Line, unit: Unit, assigned: Assigned, key: PublicKey) -> str | None:
    """None for the key that the job is about; the act that gave a finished unit another one, by its hash.

    Faults as of `checks.right_key`; `registry-needed` if only the registry could tell of an act.
    """
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
        return act
    return None


async def turned_away(line: Line, unit: Unit, assigned: Assigned, key: PublicKey, act: str) -> Fault:
    """`unit-rekeyed`, once the unit is whole and locked, as far as it can be."""
    return fault("unit-rekeyed", f"key {key.fingerprint}, by act {act}{await _made_whole(line, unit, assigned, key)}")


async def _made_whole(line: Line, unit: Unit, assigned: Assigned, key: PublicKey) -> str:
    """One that may have been opened is locked, tried and on record; what was done, for people, empty for nothing.

    With the anchor that it is to have: the order's, which is written if it is not there, or the one that an act gave it
    here. `anchor-differs` for an open one with an anchor that nothing explains.
    """
    identity, jobs = assigned.identity, line.jobs
    left = await left_as(jobs, identity.device_id)
    words = await words_now(line.cloud, line.root, identity.device_id)
    if identity.locked and not left.open and words <= left.covered:
        return ""
    anchor = await unit.read_anchor()
    if anchor is None or named(anchor) != left.wanted_anchor(of_order(line.work)):
        if identity.locked:
            return "; its anchor is not the one that it is to have"
        if left.given_anchor:
            raise fault("anchor-differs", f"it is open, and an act gave it anchor {left.given_anchor}")
        anchor = anchor_of(line)
        await unit.anchored(anchor)
    await locked(unit, identity, key, assigned.job.job_id, anchor, work=line.work, challenge=_challenge)
    await jobs.note(verified_again(line, identity.device_id, Look(named(anchor), words)))
    return "; it is whole and locked"


async def _challenge() -> bytes:
    return secrets.token_bytes(CHALLENGE_BYTES)


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
