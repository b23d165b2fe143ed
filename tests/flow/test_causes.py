"""Every row of the fault table that a unit can produce, produced by a real cause."""

import ast
import asyncio
from pathlib import Path

import pytest

import station
from hsm.signer import SignerError
from station.disposition import Disposition
from station.events import Verdict
from station.exits import Exit
from station.fault_table import TABLE
from station.faults import Fault, fault
from station.leaves import classify
from tests.docs.pages import page, rows, section
from tests.flow.bench import Bench
from tests.flow.causes import CAUSES, ELSEWHERE, Cause
from trust.codes import Code

VERDICTS = {
    Disposition.RETRY: Verdict.FAIL,
    Disposition.NOT_HERE: Verdict.FAIL,
    Disposition.HOLD: Verdict.HELD,
    Disposition.QUARANTINE: Verdict.QUARANTINE,
    Disposition.LINE_STOP: Verdict.FAIL,
}
ALL = [
    pytest.param(code, cause, id=f"{code}-{number}")
    for code, causes in CAUSES.items()
    for number, cause in enumerate(causes)
]
TOLD = {row[0].strip("`"): row[3].split(", ") for row in rows(section(page("docs/flow.md"), "## Steps"))}
ANYWHERE = {  # ends whatever exchange it meets
    "no-answer", "link-lost", "garbled", "device-busy", "device-refused", "power-failed", "line-stopped", "signer-down",
    "registry-unreachable", "registry-refused", "ledger-failed", "ledger-conflict",
}  # fmt: skip
STATION = Path(station.__file__ or "").parent


@pytest.mark.parametrize(("code", "cause"), ALL)
def test_the_cause_has_its_name_and_its_verdict(tmp_path: Path, code: str, cause: Cause):
    async def story():
        async with Bench.make(tmp_path, cause.stations, **cause.order) as bench:
            return await cause.play(bench)

    result = asyncio.run(story())
    row = TABLE[code]
    assert (result.code, result.verdict, result.exit_code) == (code, VERDICTS[row.disposition], row.exit), result
    assert (result.sentence, result.remedy) == (row.sentence, row.remedy)
    assert code in TOLD.get(result.step, ()) or code in ANYWHERE, f"docs/flow.md: {code} ended {result.step}"


def test_every_row_of_the_table_has_a_cause_or_a_reason():
    assert {*CAUSES, *ELSEWHERE} == set(TABLE)
    assert not set(CAUSES) & set(ELSEWHERE)


def test_every_code_that_the_station_raises_is_in_the_table_and_the_other_way_round():
    used = set()
    for path in STATION.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and path.name != "faults.py":
                used.add(node.value)
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == "fault"
                and isinstance(node.args[0], ast.Constant)
            ):
                assert node.args[0].value in TABLE, f"{path.name}:{node.lineno}"
    assert set(TABLE) <= used, set(TABLE) - used


@pytest.mark.parametrize("code", sorted(TABLE))
def test_every_row_says_what_is_wrong_and_what_to_do(code: str):
    found = fault(code, "detail")
    assert found.row.sentence.endswith(".")
    assert found.row.remedy.endswith(".")
    assert str(found) == f"{found.row.sentence} (detail)"
    assert isinstance(found, Fault)


def test_a_weak_key_has_its_own_exit_code():
    found = classify(SignerError(Code.KEY_WEAK, "the signer's vetting"))
    assert (found.code, found.row.exit) == ("key-weak", Exit.WEAK_KEY)


def test_a_statement_that_the_signer_does_not_take_quarantines_the_unit():
    found = classify(SignerError(Code.STATEMENT_INVALID, "the signer's reason"))
    assert (found.code, found.row.exit) == ("unit-not-signed", Exit.QUARANTINED)


@pytest.mark.parametrize("code", sorted(Code))
def test_every_code_of_signer_and_registry_becomes_a_fault(code: Code):
    from station.cloud import CloudRefusedError

    assert classify(SignerError(code, "no")).code in TABLE
    assert classify(CloudRefusedError(code, "no")).code in TABLE
