"""Whether a unit may begin, or go on, here at all: judged from what ledger, registry and this batch know of it.

No exchange with anybody, and nothing on record yet: a unit that is turned away is as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from station import checks
from station.disposition import Disposition
from station.events import Step
from station.evidence import Identified
from station.fault_table import TABLE
from station.faults import Fault, fault
from station.intents import may_be_signed
from station.jobs import OnRecord, RecordKind
from station.line import Line

_EXPOSED = {"nonce-repeated", "key-weak", "key-duplicate", "completion-refused"}
_NOT_THE_UNITS = {Disposition.NOT_HERE, Disposition.LINE_STOP, Disposition.HOLD}


def admit(line: Line, identified: Identified, begun: Iterable[OnRecord], slot: str) -> None:
    """The unit is in work in this slot, or the fault that keeps it out; `begun` is what the ledger knows of it.

    A unit that has passed takes no room of the order: it is verified again.
    """
    begun = tuple(begun)
    refuse_if_exposed(begun)
    refuse_if_begun_elsewhere(begun, line.work.order_id)
    refuse_unless_keyable(line, identified, begun)
    ours = [each for each in begun if each.job.order_id == line.work.order_id]
    there = identified.registered
    done = there is not None and there.completion is not None
    if done or any(RecordKind.COMPLETION in each.records for each in ours):
        return
    signed_for = there is not None or any(RecordKind.PIN in each.records for each in ours)
    # What the signer refuses of an intent the next order may take: only the signer can tell.
    intended = any(RecordKind.INTENT in each.records and may_be_signed(Step.SIGNED, each) for each in ours)
    device = identified.identity.device_id
    try:
        line.headroom.enter(slot, device, signed_for=signed_for, intended=intended and not signed_for)
    except Fault as full:
        # It has failed since, and given its room away: it takes none from those that have not.
        only_here = "; this one is signed for: no other order takes it" if signed_for else ""
        raise fault(full.code, f"{full.detail}{only_here}") from full


def refuse_if_exposed(begun: Iterable[OnRecord]) -> None:
    """A fault if an earlier attempt found the key weak, shared or given away: the next one might not see it again."""
    for each in begun:
        for told in each.verdicts:
            if told.details.get("code") in _EXPOSED:
                raise fault(told.details["code"], f"found in attempt {told.attempt} under {each.job.order_id}")


def refuse_if_begun_elsewhere(begun: Iterable[OnRecord], order_id: str) -> None:
    """A fault if a statement about the unit was intended under another order and is not lost, or it passed there.

    Its key must not be replaced: the registry may have it, or get it from the outbox at any time.
    """
    for each in begun:
        if not _live(each) or each.job.order_id == order_id:
            continue
        if RecordKind.COMPLETION in each.records:
            raise fault("passed-other-order", f"passed under {each.job.order_id}")
        raise fault("other-order", f"begun under {each.job.order_id}: finish it there")


def refuse_unless_keyable(line: Line, identified: Identified, begun: Iterable[OnRecord]) -> None:
    """The fault that a unit without a key that we know would end with; the registry's or our own job is fine."""
    identity = identified.identity
    if identified.registered is not None:
        return
    if any(each.job.job_id == identity.job or each.job.order_id == line.work.order_id for each in begun):
        return
    if identity.job is None or identity.job != checks.job_to_adopt(line, identity, None):
        checks.may_make_key(line, identity, known=False, asked=identified.asked)


def not_too_often(now: OnRecord, identified: Identified, most: int) -> None:
    """A unit that never gets as far as its pin statement is given up; later insertions are not counted against it.

    Nor are those that ended for no fault of the unit's, or whose unit could not prove the key: anybody can claim an id.
    """
    if identified.registered is not None or RecordKind.PIN in now.records:
        return
    counted = now.attempts - sum(_not_the_units(each.details.get("code", "")) for each in now.verdicts)
    if counted > most:
        raise fault("too-many-attempts", f"{counted - 1} attempts before this one")


def _not_the_units(code: str) -> bool:
    return code == "bad-proof" or (code in TABLE and TABLE[code].disposition in _NOT_THE_UNITS)


def _live(begun: OnRecord) -> bool:
    """Whether a statement about the unit may still be signed or pinned."""
    if RecordKind.INTENT not in begun.records or RecordKind.PIN_REFUSED in begun.records:
        return False
    return RecordKind.PIN in begun.records or may_be_signed(Step.SIGNED, begun)
