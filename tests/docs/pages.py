"""The documents as the tests of this folder read them: sections, table rows, marked blocks. Never judges."""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
PAGES = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]
BLOCK = re.compile(r"<!-- run: (?P<name>\w+) -->\n```sh\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """The text of a document, by its path from the top."""
    return (TOP / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its own or a higher rank."""
    marks = re.match(r"#+", heading)
    assert marks, heading
    begin = f"\n{text}".index(f"\n{heading}\n") + len(heading) + 1
    end = re.search(rf"^#{{1,{len(marks[0])}}} ", text[begin:], re.MULTILINE)
    return text[begin : begin + end.start()] if end else text[begin:]


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows but heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rules = {number for number, line in enumerate(lines) if set(line) <= set("|-: ")}
    bodies = [line for number, line in enumerate(lines) if not {number, number + 1} & rules]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in bodies]


def quoted(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def blocks(text: str) -> dict[str, str]:
    """The marked shell blocks by name."""
    return {found["name"]: found["text"] for found in BLOCK.finditer(text)}
