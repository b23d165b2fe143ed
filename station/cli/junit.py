"""A batch as JUnit XML, for test systems: a test case a unit, a failure for everything but PASS. Pure.

Must never show more than is on record: emulated, already passed, the handshake's outcome and what waits for the
registry are said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree as ET

from station.cli.called import Here
from station.cli.views import objected_lines, unit_line
from station.events import BatchFinished, UnitFinished, Verdict
from trust.printable import printable

# XML 1.0 has no way to write most control characters, not even escaped: foreign text goes through `printable`.


def junit(batch: BatchFinished, units: Sequence[UnitFinished], here: Here) -> bytes:
    """The batch; attempts that were tried again stand in the case of the unit's verdict."""
    suite = ET.Element("testsuite", name=f"order {printable(batch.order)}", time=str(batch.seconds))
    counts = {"emulated-units": sum(unit.emulated for unit in units if not unit.again), "already-passed": batch.already,
              "handshakes-waived": batch.waived,
              "waiting-for-registry": "unknown" if batch.outbox is None else batch.outbox}  # fmt: skip
    _properties(suite, counts)
    for unit, before in _verdicts(units):
        _unit(suite, unit, before, here)
    if batch.objected:
        case = ET.SubElement(suite, "testcase", name="outbox", classname="registry", time="0")
        ET.SubElement(case, "failure", type="objected", message=here.typeable(objected_lines(batch.objected)[0]))
    if batch.interrupted:
        case = ET.SubElement(suite, "testcase", name="batch", classname="interrupted", time="0")
        text = "interrupted: no further unit was begun, so this is not the whole batch"
        ET.SubElement(case, "failure", type="interrupted", message=text)
    suite.set("tests", str(len(suite.findall("testcase"))))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    return bytes(ET.tostring(suite, encoding="utf-8", xml_declaration=True))


def _verdicts(units: Sequence[UnitFinished]) -> Iterator[tuple[UnitFinished, list[UnitFinished]]]:
    """Each unit's verdict with the attempts before it, which came from the same slot."""
    before: dict[str, list[UnitFinished]] = {}
    for unit in units:
        if unit.again:
            before.setdefault(unit.slot, []).append(unit)
        else:
            yield unit, before.pop(unit.slot, [])


def _unit(suite: ET.Element, unit: UnitFinished, before: list[UnitFinished], here: Here) -> None:
    name, slot = printable(unit.device_id or unit.slot), printable(unit.slot)
    case = ET.SubElement(suite, "testcase", name=name, classname=slot, time=str(unit.seconds))
    said = {"emulated": unit.emulated, "already-passed": unit.already}
    properties: dict[str, str] = {name: "true" if value else "false" for name, value in said.items()}
    if unit.handshake:
        properties["handshake"] = unit.handshake
    _properties(case, properties)
    if unit.verdict is not Verdict.PASS:
        message = printable(f"{unit.verdict}: {unit.sentence}")
        failure = ET.SubElement(case, "failure", type=printable(unit.code), message=message)
        failure.text = f"{printable(unit.detail)}\n{here.typeable(printable(unit.remedy))}"
    lines = [here.typeable(printable(unit_line(each))) for each in (*before, unit)]
    ET.SubElement(case, "system-out").text = "\n".join(lines)


def _properties(owner: ET.Element, values: Mapping[str, object]) -> None:
    listed = ET.SubElement(owner, "properties")
    for name, value in values.items():
        ET.SubElement(listed, "property", name=name, value=str(value))
