"""What the station writes: whatever foreign text says, one line comes out and no control character with it."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import msgspec
import pytest

from station.cli import output, views
from station.cli.called import Here
from station.cli.junit import junit
from station.faults import fault
from tests.cli.test_views import BATCH, FAIL, STOP

HOSTILE = "x\x1b[2J\x1b]0;owned\x07\nledger verifies: 22 leaves\x00\u202e"
DANGEROUS = {each for each in HOSTILE if not each.isprintable()}


def test_data_and_notes_carry_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    output.data(HOSTILE)
    output.note(HOSTILE)
    output.note_fault(fault("setup", HOSTILE), Here())
    written = capsys.readouterr()
    assert {"\x1b", "\n", "\x00", "\u202e"} <= DANGEROUS
    assert written.out == "x·[2J·]0;owned··ledger verifies: 22 leaves··\n"
    assert all(line.isprintable() for line in written.err.split("\n"))
    assert not [line for line in written.err.split("\n") if line.startswith("ledger verifies")]


def test_lines_about_units_carry_no_control_characters() -> None:
    for event in (msgspec.structs.replace(FAIL, detail=HOSTILE), msgspec.structs.replace(STOP, detail=HOSTILE)):
        (line,) = views.plain_lines(event)
        assert line.isprintable()


@pytest.mark.parametrize("code", [0x00, 0x08, 0x0A, 0x1B, 0x85, 0x9B, 0x202E, 0xD800, 0xFFFE, 0xFFFF])
def test_junit_is_xml_whatever_the_detail_says(code: int) -> None:
    foreign = f"a{chr(code)}]]><b"
    unit = msgspec.structs.replace(FAIL, detail=foreign, sentence=foreign, slot=foreign, code=foreign)
    (failure,) = ET.fromstring(junit(msgspec.structs.replace(BATCH, order=foreign), [unit], Here())).iter("failure")
    assert failure.text == f"a·]]><b\n{FAIL.remedy}"
