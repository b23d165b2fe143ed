"""docs/threats.md: each attacker has a section, each defence names the test that shows it or says that there is none."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from station.disposition import VERDICTS
from station.fault_table import TABLE
from tests.contract import tricks_leases, tricks_orders, tricks_papers, tricks_roots, tricks_units
from tests.docs.pages import TOP, page, quoted, rows, section
from tests.docs.test_devices import results
from tests.flow.causes import CAUSES

PAGE = page("docs/threats.md")
WHO = "## Who, what, and what notices"
CAN, NOTICES, GAP, NONE = "**Can:** ", "**Notices or stops:**", "**Gap:** ", "no test"
# Tests that are rows of a table: what may stand behind `::` besides functions.
ROWS = {
    "tests/contract/tricks_leases.py": {each.name for each in tricks_leases.LEASES},
    "tests/contract/tricks_orders.py": {each.name for each in tricks_orders.ORDERS},
    "tests/contract/tricks_papers.py": {each.name for each in tricks_papers.PAPERS},
    "tests/contract/tricks_roots.py": {each.name for each in tricks_roots.ROOTS},
    "tests/contract/tricks_units.py": {each.name for each in tricks_units.UNITS},
    "tests/flow/causes.py": set(CAUSES),
}


@cache
def held_in(path: str) -> frozenset[str]:
    """What a file holds that pytest runs under a name: functions, or rows of a table."""
    if path in ROWS:
        return frozenset(ROWS[path])
    file = TOP / path
    if not file.is_file() or not file.name.startswith("test_"):
        return frozenset()
    found = (
        each
        for each in ast.parse(file.read_text("utf-8")).body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return frozenset(each.name for each in found if each.name.startswith("test_"))


def named(text: str) -> list[str]:
    """The tests that a text names: `tests/…::name`."""
    return [each for each in quoted(text) if each.startswith("tests/") and "*" not in each]


def missing(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    parts = [(each, *each.partition("::")) for each in named(text)]
    return [each for each, path, _, name in parts if name not in held_in(path)]


def attackers(text: str) -> dict[str, str]:
    """The sections by their headings."""
    parts = re.split(r"^### (.+)$", section(text, WHO), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def wrong(text: str) -> list[str]:
    """What the sections lack: one of their three parts, a defence, or a defence's test."""
    found = []
    for who, body in attackers(text).items():
        parts = [body.find(each) for each in (CAN, NOTICES, GAP)]
        if -1 in parts or parts != sorted(parts):
            found.append(f"{who}: not in three parts")
            continue
        defences = re.split(r"^- ", body[parts[1] : parts[2]], flags=re.MULTILINE)[1:]
        found += [] if defences else [f"{who}: no defence, not even none"]
        found += [f"{who}: {each.strip()}" for each in defences if not named(each) and NONE not in each]
    return found


def test_every_test_that_the_page_names_is_there() -> None:
    assert missing(PAGE) == []


def test_every_defence_names_its_test_or_says_that_there_is_none() -> None:
    assert wrong(PAGE) == []
    assert len(attackers(PAGE)) >= 25
    assert len(set(named(PAGE))) > 100


GOOD = f"""{WHO}

### Thief

{CAN}Steal.

{NOTICES}

- A lock,
  of two parts. `tests/hsm/test_rollback.py::test_a_token_that_was_put_back_alone`
- A dog: no test.

{GAP}The window.

## Another
"""
ONE = "tests/hsm/test_rollback.py::test_a_token_that_was_put_back_alone"


@pytest.mark.parametrize(
    "planted",
    [
        "tests/hsm/test_rollback.py::test_that_nobody_wrote", "tests/hsm/test_nothing.py::test_a_token_that_was_put_back_alone",
        "tests/hsm/test_rollback.py::plant", "tests/hsm/test_rollback.py", "tests/hsm/leased.py::Leased",
        "tests/contract/tricks_leases.py::lease: unheard of", "tests/flow/causes.py::no-such-fault",
    ],
)  # fmt: skip
def test_a_test_that_is_missing_is_seen(planted: str) -> None:
    assert missing(GOOD) == []
    assert missing(GOOD.replace(ONE, planted)) == [planted]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f" `{ONE}`", "", "Thief: A lock,\n  of two parts."),
        (": no test", "", "Thief: A dog."),
        (GAP, "", "Thief: not in three parts"),
        (CAN, "", "Thief: not in three parts"),
        ("- ", "", "Thief: no defence, not even none"),
    ],
)
def test_a_defence_without_a_test_is_seen(old: str, new: str, said: str) -> None:
    assert wrong(GOOD) == []
    assert wrong(GOOD.replace(old, new)) == [said]


PINS = "## Wrong pins, every way round"


def wrong_pins(text: str) -> list[str]:
    """What the table of wrong pins lacks: a case, a service, a test, a control, a fault or a word that is one."""
    found = [row for row in rows(section(text, PINS)) if len(row) == 7]
    faults = {quoted(row[0])[0]: row[1:] for row in rows(section(text, PINS)) if len(row) == 3}
    known = {code: [VERDICTS[TABLE[code].disposition].value, TABLE[code].remedy] for code in faults if code in TABLE}
    lacks = [f"{code}: not its remedy" for code in faults if faults[code] != known.get(code)]
    words = {word for word, _ in results()}
    for case, by, _, bench, field, shown, control in found:
        lacks += [f"{case}, {by}: no test" for cell in (shown, control) if not named(cell)]
        lacks += [f"{case}, {by}: {code} has no row" for code in quoted(bench) if code not in faults]
        lacks += [f"{case}, {by}: {word} is no word" for word in quoted(field) if word not in words]
    cases = [case for case, by, *_ in found if by == "TCP"]
    lacks += [] if [case for case, by, *_ in found if by == "UDP"] == cases else ["not each case by both"]
    return lacks + missing(section(text, PINS)) + [f"only {len(cases)} cases"] * (len(cases) != 9)


def test_each_wrong_pin_has_its_tests_its_control_and_its_remedy() -> None:
    assert wrong_pins(PAGE) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("test_wrong_pins.py::test_a_nonce_of_another_time_is_refused", "test_wrong_pins.py::test_that_nobody_wrote"),
        ("| truncated record | UDP |", "| truncated record | TCP |"),
        ("| `not-opened` |", "| `not-open` |"),
        ("| `handshake-not-trusted` | QUARANTINE |", "| `handshake-not-trusted` | FAIL |"),
        ("| `handshake-timed-out` | FAIL |", "| `handshake-timed` | FAIL |"),
    ],
)
def test_a_wrong_pin_without_one_of_them_is_seen(old: str, new: str) -> None:
    assert old in PAGE
    assert wrong_pins(PAGE.replace(old, new)) != []
