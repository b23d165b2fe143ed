"""Whether a unit may begin, or go on, here at all: judged from what ledger, registry and this batch know of it.

No exchange with anybody, and nothing on record yet: a unit that is turned away is as it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from station import checks
from station.events import Step
from station.evidence import Identified
from station.faults import TABLE, Disposition, fault
from station.headroom import Place
from station.jobs import OnRecord, RecordKind
from station.line import Line

_EXPOSED = {"nonce-repeated", "key-weak", "key-duplicate", "completion-refused"}
_NOT_SIGNED = {"order-exhausted", "order-refuses"}
_NOT_THE_UNITS = {Disposition.NOT_HERE, Disposition.LINE_STOP, Disposition.HOLD}


def admit(line: Line, identified: Identified, begun: Iterable[OnRecord], kept: Place | None) -> Place | None:
    """The unit's place in the order, or the fault that keeps it out; `begun` is what the ledger knows of it.

    `kept` is the place that the attempt before this one left. None for a unit that has passed: it needs no place to be
    verified again.
    """
    device = identified.identity.device_id
    if kept is not None and kept.device != device:
        kept.drop()
        kept = None
    begun = tuple(begun)
    refuse_if_exposed(begun)
    refuse_if_begun_elsewhere(begun, line.work.order_id)
    refuse_unless_keyable(line, identified, begun)
    ours = [each.records for each in begun if each.job.order_id == line.work.order_id]
    if any(RecordKind.COMPLETION in records for records in ours):
        return None
    # An intent may have been signed: only the signer can tell, and what it refuses the next order may take.
    intended = identified.registered is not None or any(RecordKind.INTENT in records for records in ours)
    return kept or line.headroom.take(device, begun=intended)


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
    """Whether a statement about the unit may still be signed or pinned.

    An intent that the signer has refused was never signed: the signer gives what it has signed before anything else.
    """
    if RecordKind.INTENT not in begun.records or RecordKind.PIN_REFUSED in begun.records:
        return False
    asked = [each for each in begun.verdicts if each.details.get("code") != "line-stopped"]
    signing = [each.details.get("code") for each in asked if each.details.get("step") == Step.SIGNED]
    return RecordKind.PIN in begun.records or not signing or signing[-1] not in _NOT_SIGNED
