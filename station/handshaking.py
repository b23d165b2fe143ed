"""State 10's live handshake: what shows that unit and cloud know each other, as the order wants it.

`station.carrying` moves the bytes; here it is decided whether they are moved, and what of it goes on record. The
service's signed report is believed and nobody's word. A report stays good: an attempt after it carries nothing anew, as
id, key and anchor have just been read again and are the same. Never waives what the order does not let it waive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fixtures.device import RefusalReason, RefusedError, Service
from station.carrying import Carrying, Moved
from station.cloud import CloudRefusedError, DeviceServiceAwayError
from station.events import HandshakeWent
from station.evidence import Pinned
from station.faults import fault
from station.jobs import RecordKind
from station.line import Line
from station.unit import Unit
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import is_in_force, problem, reported
from trust.statement import Completion, PinStatement, StatementError, Waiver, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What became of it, as a completion says it."""

    handshake: Literal["proved", "waived", "not-asked"]
    report: Envelope | None = None
    waiver: Literal["", Waiver] = ""


async def met(line: Line, unit: Unit, slot: str, pinned: Pinned) -> Met:
    """The handshake that the order wants: done before, carried now, or waived. Raises the fault it finds."""
    if not line.work.handshakes:
        return Met(handshake="not-asked")
    before = _before(line, pinned)
    if before is not None:
        return before
    service = Service(line.work.service)
    if service not in unit.device.tunnels:
        if "no-tunnel" not in line.work.handshake_waivers:
            raise fault("unit-no-tunnel", f"its family has no client of service {service.value}")
        return _waived(line, slot, "no-tunnel")
    try:
        report = await _carried(line, unit, slot, pinned)
    except DeviceServiceAwayError:  # at the beginning, and for a while: one that is there, and slow, waives nothing
        if "service-away" not in line.work.handshake_waivers:
            raise
        return _waived(line, slot, "service-away")
    return Met(handshake="proved", report=report)


def _before(line: Line, pinned: Pinned) -> Met | None:
    """What an earlier attempt has shown: what was signed or is intended says it, or its report still holds."""
    records = pinned.assigned.records
    for kind in (RecordKind.COMPLETION, RecordKind.COMPLETION_INTENT):
        done = records.get(kind) or pinned.assigned.finished_elsewhere
        if done is not None:
            said = read(done, Completion).verification
            report = said.handshake_report
            if kind is RecordKind.COMPLETION_INTENT and report is not None and not is_in_force(line.root, report):
                raise fault("handshake-key-replaced", "the completion's bytes are on record, and stay as they are")
            return Met(handshake=said.handshake, report=said.handshake_report, waiver=said.handshake_waiver)
    report = records.get(RecordKind.HANDSHAKE_REPORT)
    if report is None or _wrong(line, pinned, report) is not None:
        return None
    return Met(handshake="proved", report=report)


def _waived(line: Line, slot: str, waiver: Waiver) -> Met:
    line.emit(HandshakeWent(at=line.clock.utc(), slot=slot, outcome="waived", waiver=waiver))
    return Met(handshake="waived", waiver=waiver)


async def _carried(line: Line, unit: Unit, slot: str, pinned: Pinned) -> Envelope:
    """The service's report, judged and on record."""
    assigned = pinned.assigned

    def told(moved: Moved, outcome: Literal["", "proved"] = "") -> None:
        line.emit(_went(line, slot, moved, outcome))

    carrying = Carrying(unit, line.relay, line.clock, bounds=line.bounds, told=told)
    told(carrying.moved)  # before the first exchange: a service that hangs keeps everything after it waiting
    try:
        done = await carrying.carried(assigned.identity.device_id, assigned.job.job_id, Service(line.work.service))
    except RefusedError as error:
        if error.reason is RefusalReason.NOT_SUPPORTED:
            raise fault("unit-no-tunnel", str(error)) from error
        raise
    except CloudRefusedError as error:
        if error.code is Code.NOT_PINNED:
            raise fault("registry-wrong", f"it receipted this pin, and carries nothing: {error}") from error
        raise
    if done.report is None:
        raise fault("handshake-report-wrong", "there is none")
    wrong = _wrong(line, pinned, done.report)
    if wrong is not None:
        raise fault("handshake-report-wrong", wrong)
    if RecordKind.HANDSHAKE_REPORT not in assigned.records:  # else the first does not hold any more: a job has one
        await line.jobs.record(assigned.job.job_id, RecordKind.HANDSHAKE_REPORT, done.report)
    # A crash here: the next attempt finds the report, and carries nothing.
    told(carrying.moved, "proved")
    return done.report


def _wrong(line: Line, pinned: Pinned, envelope: Envelope) -> str | None:
    """Why this is no report of this pin's handshake that a completion may have now; None if it is."""
    try:
        report = reported(line.root, envelope)
    except StatementError as error:
        return str(error)
    if not is_in_force(line.root, envelope):
        return "the key that signed it is not the trust root's any more"
    return problem(report, read(pinned.pin, PinStatement), line.work, station=line.station)


def _went(line: Line, slot: str, moved: Moved, outcome: Literal["", "proved"]) -> HandshakeWent:
    return HandshakeWent(
        at=line.clock.utc(), slot=slot, outcome=outcome, exchanges=moved.exchanges,
        from_unit=moved.from_unit, to_unit=moved.to_unit,
        unit_seconds=round(moved.unit_s, 6), cloud_seconds=round(moved.cloud_s, 6),
    )  # fmt: skip
