"""The operator guide's table of faults, made from `station.fault_table.TABLE`, so that guide and screen say the same.

`python -m station.cli.guide` prints it; with a file's name, docs/operator.md, it goes between that file's markers.
Must never say anything of a fault that the table does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

from station.cli.output import data, note
from station.disposition import Disposition, Row
from station.exits import Exit
from station.fault_table import TABLE
from trust.printable import plainly

BEGIN = "<!-- faults: made by `python -m station.cli.guide docs/operator.md` -->"
END = "<!-- end of faults -->"
_HEADINGS = {
    Disposition.RETRY: "Retry: FAIL, amber",
    Disposition.NOT_HERE: "Not here, or not now: FAIL, amber; not tried again",
    Disposition.HOLD: "Hold: HELD, own lamp and bin",
    Disposition.QUARANTINE: "Quarantine: QUARANTINE, red",
    Disposition.LINE_STOP: "Line stop: all slots stop at their next step",
    Disposition.SETUP: "Set-up: nothing was started",
}


class MarkersError(ValueError):
    """The file has not exactly one pair of markers, in their order; the text names it."""


def table() -> str:
    """All faults as Markdown, a section a disposition, in the order of `TABLE`."""
    return "\n".join(_section(disposition) for disposition in Disposition)


def with_table(text: str) -> str:
    """The text with the present table between its markers; MarkersError if they are not there."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise MarkersError(f"expected once each, in this order: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def _section(disposition: Disposition) -> str:
    rows = [_line(code, row) for code, row in TABLE.items() if row.disposition is disposition]
    head = ["| code | what the screen says | what to do | exit |", "|---|---|---|---|"]
    return "\n".join([f"### {_HEADINGS[disposition]}", "", *head, *rows, ""])


def _line(code: str, row: Row) -> str:
    cells = [f"`{code}`", row.sentence, row.remedy, str(int(row.exit))]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def main(names: list[str]) -> int:
    """Print the table, or bring the named files up to date; Exit.USAGE for a file that cannot be."""
    if not names:
        for line in table().split("\n"):
            data(line)
    for path in map(Path, names):
        try:
            path.write_text(with_table(path.read_text("utf-8")), "utf-8")
        except (OSError, MarkersError) as error:
            note(f"{path}: {plainly(error)}")
            return Exit.USAGE
    return Exit.PASSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
