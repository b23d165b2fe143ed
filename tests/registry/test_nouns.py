"""The registry's nouns: pins count within leases, leases know no pins; what both need lies beside them."""

from __future__ import annotations

import ast
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import registry
from registry.clock import stamp

TOP = Path(registry.__file__).parent


def imported(folder: str) -> set[str]:
    """Every module that a file of the folder imports at run time, for types or inside a function."""
    found: set[str] = set()
    for path in sorted((TOP / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update(each.name for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.update(f"{node.module}.{each.name}" for each in node.names)
    return found


def test_leases_import_nothing_of_pins() -> None:
    assert [each for each in imported("leases") if each.startswith("registry.pins")] == []
    assert [each for each in imported("pins") if each.startswith("registry.leases")], "control: the other way is used"


@pytest.mark.parametrize("name", ["errors.py", "clock.py"])
def test_what_both_need_lies_in_one_place(name: str) -> None:
    assert [path.relative_to(TOP).as_posix() for path in TOP.rglob(name)] == [name]


def test_two_stamps_compare_as_their_times_do() -> None:
    """Rows are compared as text: in UTC, and with milliseconds even if they are none."""
    whole = datetime(2026, 11, 30, 1, 0, tzinfo=timezone(timedelta(hours=1)))
    assert stamp(whole) == "2026-11-30T00:00:00.000Z"
    assert stamp(whole) < stamp(whole + timedelta(milliseconds=1)) < stamp(whole + timedelta(seconds=1))
