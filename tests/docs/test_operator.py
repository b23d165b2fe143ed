"""The operator's page says what the program says: faults, exit codes, verdicts, lamps."""

import dataclasses
from itertools import pairwise

import pytest

from fixtures.indicators import Lamp
from station.cli.guide import BEGIN, END, MarkersError, main, table, with_table
from station.disposition import Disposition
from station.events import Verdict
from station.exits import Exit, worst
from station.fault_table import TABLE
from tests.docs.pages import page, quoted, rows, section

OPERATOR = page("docs/operator.md")


def test_the_fault_table_is_the_programs() -> None:
    assert with_table(OPERATOR) == OPERATOR, "run: python -m station.cli.guide docs/operator.md"
    assert [quoted(row[0])[0] for row in rows(table())] == sorted(
        TABLE, key=lambda code: list(Disposition).index(TABLE[code].disposition)
    )


def test_a_stale_table_is_seen() -> None:
    remedy = TABLE["no-answer"].remedy
    assert with_table(OPERATOR.replace(remedy, "Hit it.", 1)) != OPERATOR.replace(remedy, "Hit it.", 1)


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(MarkersError):
        with_table(text)


def test_the_command_brings_a_page_up_to_date_and_refuses_another(tmp_path, capsys) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    bad.write_text("no markers")
    assert main([str(good)]) == Exit.PASSED
    assert good.read_text() == f"before\n{BEGIN}\n\n{table()}\n{END}\nafter\n"
    assert main([str(bad)]) == Exit.USAGE
    assert "bad.md" in capsys.readouterr().err
    assert bad.read_text() == "no markers"


def test_exit_codes_are_listed_the_worst_first() -> None:
    listed = [Exit(int(row[0])) for row in rows(section(OPERATOR, "## Exit codes"))]
    names = [quoted(row[1])[0] for row in rows(section(OPERATOR, "## Exit codes"))]
    assert set(listed) == set(Exit)
    assert names == [code.name for code in listed]
    assert all(worst([earlier, later]) is earlier for earlier, later in pairwise(listed))


def inserted_in_vain() -> list[str]:
    """Codes of quarantine whose remedy has the unit inserted again, which the page says never to do."""
    rows_ = {code: row for code, row in TABLE.items() if row.disposition is Disposition.QUARANTINE}
    return [code for code, row in rows_.items() if "insert" in row.remedy.lower()]


def test_no_unit_in_quarantine_is_inserted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "never insert it" in section(OPERATOR, "## Verdicts and bins")
    assert not inserted_in_vain()
    planted = dataclasses.replace(TABLE["unit-no-tunnel"], remedy="Load firmware, then insert the unit again.")
    monkeypatch.setitem(globals(), "TABLE", {**TABLE, "unit-no-tunnel": planted})
    assert inserted_in_vain() == ["unit-no-tunnel"], "control"


@pytest.mark.parametrize("name", ["docs/operator.md", "docs/flow.md"])
def test_every_verdict_has_its_row(name: str) -> None:
    verdicts = rows(section(page(name), "## Verdicts and bins" if "operator" in name else "## Verdicts"))
    assert {Verdict(cell) for row in verdicts for cell in row if cell in set(Verdict)} == set(Verdict)
    for lamp in Lamp:
        assert lamp.value in page("docs/operator.md")


def test_every_disposition_of_a_unit_has_its_row() -> None:
    found = {row[0] for row in rows(section(page("docs/flow.md"), "## Verdicts"))}
    assert found - {"\u2013"} == {
        *(each.value.replace("-", " ") for each in Disposition if each is not Disposition.SETUP)
    }
