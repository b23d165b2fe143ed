"""Links lead somewhere, pictures are there, nothing is left to be written."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import FENCE, PAGES, TOP, page

LINK = re.compile(r"\]\(([^)\s]+)\)")
UNWRITTEN = re.compile(r"\b(?:TODO|FIXME|TBD|XXX)\b")


def anchors(text: str) -> set[str]:
    """The names that a page's headings have as link targets."""
    heads = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(path: Path, text: str) -> list[str]:
    """The relative links of a page that lead nowhere."""
    found = []
    for target in LINK.findall(FENCE.sub("", text)):
        name, _, anchor = target.partition("#")
        if "://" in name:
            continue
        there = (path.parent / name) if name else path
        if not there.exists() or (anchor and anchor not in anchors(there.read_text("utf-8"))):
            found.append(f"{path.name}: {target}")
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(TOP)))
def test_links_lead_somewhere_and_nothing_is_unwritten(path: Path) -> None:
    text = path.read_text("utf-8")
    assert broken(path, text) == []
    assert UNWRITTEN.findall(text) == []


@pytest.mark.parametrize("planted", ["docs/nothing.md", "docs/flow.md#no-such-heading", "#nowhere"])
def test_planted_link_is_found(planted: str) -> None:
    assert broken(TOP / "README.md", f"see [there]({planted})") == [f"README.md: {planted}"]


def test_decisions_are_numbered_and_of_one_shape() -> None:
    names = sorted(path.name for path in (TOP / "docs/decisions").glob("*.md"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for name in names:
        text = page(f"docs/decisions/{name}")
        assert text.startswith(f"# {name[:4]} "), name
        assert "\nStatus: " in text, name
        heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert heads == ["Question", "Decision", "Refused", "Consequences"], name
