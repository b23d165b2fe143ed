"""A signer never goes back behind a trust root that it has taken up, and outside `demo` takes up none by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.config import SetupError
from hsm.counters import Counters
from hsm.counters.file import create
from hsm.records import Owner
from hsm.roots import take_up
from tests.trust.documents import root
from tests.trust.people import approved_by, file_of, first_root, next_root, people
from trust.root import Seen
from trust.root_file import parse, wrap

OWNER = Owner(role="factory", name="st-01", environment="demo", keys_sha256="ab" * 32)
WHO = people()
FIRST = first_root(WHO.values())
LINE_1 = approved_by(wrap(FIRST), WHO["ada"], WHO["ben"])
LINE_2 = approved_by(wrap(next_root(FIRST, LINE_1)), WHO["ada"], WHO["ben"])
ONE, TWO = parse(file_of(LINE_1)), parse(file_of(LINE_1, LINE_2))


@pytest.fixture
def memory(tmp_path: Path) -> Counters:
    create(tmp_path / "counters.db", OWNER)
    return Counters.open(tmp_path / "counters.db", OWNER)


def test_the_first_root_of_demo_is_taken_up(memory: Counters) -> None:
    demo = parse(file_of(wrap(root())))
    for _ in range(2):
        take_up(memory, demo, 5, first=True)
        assert memory.root_seen() == Seen(1, demo.sha256)
    with pytest.raises(SetupError, match="is not the one"):
        take_up(memory, parse(file_of(wrap(root()))), 6, first=True)


def test_elsewhere_somebody_compares_its_fingerprint_first(memory: Counters) -> None:
    with pytest.raises(SetupError, match=f"{ONE.sha256}.*root import"):
        take_up(memory, ONE, 5, first=False)
    assert memory.root_seen() is None
    take_up(memory, ONE, 5, first=True)  # as an import by fingerprint does
    assert memory.root_seen() == Seen(1, ONE.sha256)


def test_a_newer_version_is_taken_up_and_an_older_one_never_again(memory: Counters) -> None:
    memory.take_up_root(Seen(1, ONE.sha256), 4)
    take_up(memory, ONE, 5, first=False)
    take_up(memory, TWO, 6, first=False)
    assert memory.root_seen() == Seen(2, TWO.sha256)
    with pytest.raises(SetupError, match="version 2 was taken up here already"):
        take_up(memory, ONE, 7, first=False)
    assert memory.root_seen() == Seen(2, TWO.sha256)
