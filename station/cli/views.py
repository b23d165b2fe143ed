"""Events as lines: for people in a pipe, for scripts as JSON, for test systems as JUnit XML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

import msgspec

from station.events import AnyEvent, BatchFinished, LineStopped, StepDone, UnitFinished, UnitSeen, Verdict


def json_line(event: AnyEvent) -> str:
    """One JSON object."""
    return msgspec.json.encode(event).decode()


def plain_line(event: AnyEvent) -> str | None:
    """One line for people; None for events that only a live screen shows."""
    match event:
        case UnitFinished():
            return unit_line(event)
        case LineStopped():
            return f"LINE STOP  {event.sentence} {event.remedy} ({event.code}: {event.detail})"
        case BatchFinished():
            return batch_line(event)
        case _:
            return None


def step_line(event: AnyEvent) -> str | None:
    """One line of progress (with --verbose)."""
    match event:
        case UnitSeen():
            kind = " (emulated)" if event.emulated else ""
            return f"{event.slot:>10}  unit {event.device_id}, product {event.product_id}, {event.hardware}{kind}"
        case StepDone():
            return f"{event.slot:>10}  {event.step:<10} {event.seconds * 1000:8.1f} ms"
        case _:
            return None


def unit_line(unit: UnitFinished) -> str:
    """A verdict with what to do next."""
    head = f"{unit.slot:>10}  {unit.verdict:<10} {unit.device_id or 'no device':<24}"
    emulated = "  emulated" if unit.emulated else ""
    if unit.verdict is Verdict.PASS:
        cloud = "active in the cloud" if unit.cloud == "active" else "safe at the station"
        again = "already passed, verified again; " if unit.already else ""
        return f"{head}  {again}{cloud}  key {unit.fingerprint[:16]}  {unit.seconds:.2f} s{emulated}"
    where = f" at {unit.step}" if unit.step else ""
    detail = f" [{unit.detail}]" if unit.detail else ""
    return f"{head}  {unit.code}{where}: {unit.sentence} {unit.remedy}{detail}{emulated}"


def batch_line(batch: BatchFinished) -> str:
    """A batch's tally."""
    already = f" ({batch.already} had passed before)" if batch.already else ""
    waiting = f", {batch.outbox} statements wait for the registry" if batch.outbox else ""
    return (
        f"order {batch.order}: {batch.passed} passed{already}, {batch.failed} failed, {batch.held} held, "
        f"{batch.quarantined} quarantined in {batch.seconds:.1f} s{waiting}"
    )


def junit(batch: BatchFinished, units: Sequence[UnitFinished]) -> bytes:
    """The batch as JUnit XML: a test case a unit, failures for everything but PASS."""
    suite = ET.Element(
        "testsuite",
        name=f"order {batch.order}",
        tests=str(len(units)),
        failures=str(len(units) - batch.passed),
        time=str(batch.seconds),
    )
    for unit in units:
        case = ET.SubElement(
            suite, "testcase", name=unit.device_id or unit.slot, classname=unit.slot, time=str(unit.seconds)
        )
        if unit.verdict is not Verdict.PASS:
            bad = ET.SubElement(case, "failure", type=unit.code, message=f"{unit.verdict}: {unit.sentence}")
            bad.text = f"{unit.detail}\n{unit.remedy}"
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))
