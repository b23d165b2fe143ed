"""Whether a unit may begin, or go on, here at all: judged from what ledger and registry know of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from station import checks
from station.evidence import Assigned, Identified
from station.faults import fault
from station.jobs import OnRecord, RecordKind
from station.line import Line


def admit(line: Line, identified: Identified, begun: Iterable[OnRecord]) -> None:
    """Raise the fault that keeps the unit out; `begun` is what the ledger knows of it."""
    begun = tuple(begun)
    refuse_if_begun_elsewhere(begun, line.work.order_id)
    refuse_unless_keyable(line, identified, begun)


def refuse_if_begun_elsewhere(begun: Iterable[OnRecord], order_id: str) -> None:
    """A fault if a statement about the unit was intended under another order and is not lost, or it passed there.

    Its key must not be replaced: the registry may have it, or get it from the outbox at any time.
    """
    for each in begun:
        live = RecordKind.INTENT in each.records and RecordKind.PIN_REFUSED not in each.records
        if not live or each.job.order_id == order_id:
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


def not_too_often(assigned: Assigned, most: int) -> None:
    """A unit that never gets as far as its pin statement is given up; later insertions are not counted against it."""
    if assigned.attempt > most and assigned.registered is None and RecordKind.PIN not in assigned.records:
        raise fault("too-many-attempts", f"{assigned.attempt - 1} attempts before this one")
