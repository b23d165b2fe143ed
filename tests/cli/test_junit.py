"""JUnit XML byte for byte, and what a test system must be able to tell from it: emulated, already passed, tried again."""

from typing import Literal
from xml.etree import ElementTree as ET

import msgspec
import pytest

from station.cli.called import Here
from station.cli.junit import junit
from station.events import BatchFinished, UnitFinished, Verdict
from tests.cli.test_views import BATCH, DEVICE, FAIL, HELD, PASS

WRITTEN = (
    "<?xml version='1.0' encoding='utf-8'?>\n"
    '<testsuite name="order o-1" time="12.345" tests="3" failures="2">'
    '<properties><property name="emulated-units" value="2" /><property name="already-passed" value="0" />'
    '<property name="handshakes-waived" value="0" />'
    '<property name="waiting-for-registry" value="0" /></properties>'
    f'<testcase name="{DEVICE}" classname="ec-01" time="1.25">'
    '<properties><property name="emulated" value="true" /><property name="already-passed" value="false" />'
    '<property name="handshake" value="proved" /></properties>'
    f"<system-out>ec-01      PASS       {DEVICE}  safe at the station  key cdcdcdcdcdcdcdcd  1.25 s  emulated"
    "</system-out></testcase>"
    '<testcase name="ec-02" classname="ec-02" time="3.0">'
    '<properties><property name="emulated" value="false" /><property name="already-passed" value="false" /></properties>'
    '<failure type="no-answer" message="FAIL: The device does not answer.">identify: 3 &lt;s&gt; &amp; more\nCheck cable.'
    "</failure>"
    "<system-out>ec-02      FAIL       no device                 no-answer at identified: The device does not answer. "
    "Check cable. [identify: 3 &lt;s&gt; &amp; more]</system-out></testcase>"
    f'<testcase name="{DEVICE}" classname="ec-01" time="1.25">'
    '<properties><property name="emulated" value="true" /><property name="already-passed" value="false" /></properties>'
    '<failure type="registry-unreachable" message="HELD: The registry does not answer.">\nHold it.</failure>'
    f"<system-out>ec-01      HELD       {DEVICE}  registry-unreachable at pinned: The registry does not answer. "
    "Hold it.  emulated</system-out></testcase>"
    "</testsuite>"
)


def suite(*units: UnitFinished, batch: BatchFinished = BATCH) -> ET.Element:
    return ET.fromstring(junit(batch, units, Here()))


def properties(owner: ET.Element) -> dict[str, str]:
    return {each.get("name", ""): each.get("value", "") for each in owner.findall("properties/property")}


def test_byte_for_byte() -> None:
    assert junit(BATCH, [PASS, FAIL, HELD], Here()).decode() == WRITTEN


@pytest.mark.parametrize("already", [False, True])
@pytest.mark.parametrize("emulated", [False, True])
def test_a_pass_says_whether_it_is_a_new_one_and_what_of(already: bool, emulated: bool) -> None:
    (case,) = suite(msgspec.structs.replace(PASS, already=already, emulated=emulated)).findall("testcase")
    said = {"emulated": str(emulated).lower(), "already-passed": str(already).lower(), "handshake": "proved"}
    assert properties(case) == said
    line = case.findtext("system-out") or ""
    assert ("already passed" in line, "emulated" in line) == (already, emulated)
    assert case.find("failure") is None


@pytest.mark.parametrize("handshake", ["proved", "waived", "not-asked"])
def test_a_waived_handshake_is_told_and_no_other_looks_like_one(
    handshake: Literal["proved", "waived", "not-asked"],
) -> None:
    waived = int(handshake == "waived")
    batch = msgspec.structs.replace(BATCH, waived=waived)
    made = suite(msgspec.structs.replace(PASS, handshake=handshake), batch=batch)
    (case,) = made.findall("testcase")
    assert properties(case)["handshake"] == handshake
    assert properties(made)["handshakes-waived"] == str(waived)
    assert ("handshake WAIVED" in (case.findtext("system-out") or "")) == bool(waived)


def test_an_attempt_that_is_tried_again_is_no_verdict() -> None:
    first = msgspec.structs.replace(FAIL, again=True)
    other = msgspec.structs.replace(FAIL, slot="ec-03")
    made = suite(first, other, msgspec.structs.replace(PASS, slot="ec-02"))
    assert (made.get("tests"), made.get("failures")) == ("2", "1")
    by_slot = {case.get("classname"): case for case in made.findall("testcase")}
    lines = (by_slot["ec-02"].findtext("system-out") or "").splitlines()
    assert [line.split()[1] for line in lines] == ["again", "PASS"]
    assert by_slot["ec-02"].find("failure") is None
    assert len((by_slot["ec-03"].findtext("system-out") or "").splitlines()) == 1, "another slot's attempts are its own"


def test_what_the_registry_objects_to_is_a_failure() -> None:
    """The exit code is 1 then: a test system must not be all green."""
    made = suite(PASS, batch=msgspec.structs.replace(BATCH, outbox=2, objected=2))
    assert (made.get("tests"), made.get("failures")) == ("2", "1")
    (failure,) = made.iter("failure")
    assert failure.get("type") == "objected"
    assert "2 statements: the registry answered, but with no receipt." in (failure.get("message") or "")
    assert properties(made)["waiting-for-registry"] == "2"
    assert (
        properties(suite(PASS, batch=msgspec.structs.replace(BATCH, outbox=None)))["waiting-for-registry"] == "unknown"
    )


def test_an_interrupted_batch_is_no_whole_one() -> None:
    told = suite(PASS, batch=msgspec.structs.replace(BATCH, interrupted=True, under_way=1))
    assert (told.get("tests"), told.get("failures")) == ("2", "1")
    (failure,) = told.findall("testcase[@name='batch']/failure")
    assert failure.get("type") == "interrupted"


def test_verdicts_are_counted_as_they_are() -> None:
    units = [msgspec.structs.replace(HELD, verdict=verdict) for verdict in Verdict]
    assert suite(*units).get("failures") == str(len(Verdict) - 1)
