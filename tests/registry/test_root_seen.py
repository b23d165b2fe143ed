"""A registry keeps the newest version of its root, and refuses an older one and another chain; it serves under newer ones."""

from __future__ import annotations

import pytest

from registry.database import Database
from registry.roots import take_up
from registry.settings import SetupError
from tests.trust.people import approved_by, file_of, first_root, next_root, people
from trust.root import LeaseTerms, TrustedRoot
from trust.root_file import parse, wrap

pytestmark = pytest.mark.both_databases

WHO = people()
OFFICERS = (WHO["ada"], WHO["ben"])
FIRST = first_root(WHO.values())
ONE = approved_by(wrap(FIRST), *OFFICERS)
TWO = approved_by(wrap(next_root(FIRST, ONE, lease=LeaseTerms(units=7))), *OFFICERS)
OTHER = approved_by(wrap(next_root(FIRST, ONE, lease=LeaseTerms(units=8))), *OFFICERS)


def root(*lines: object) -> TrustedRoot:
    return parse(file_of(*lines))  # type: ignore[arg-type]


def test_it_never_goes_back(database: Database) -> None:
    for _ in range(2):
        take_up(database, root(ONE))
    take_up(database, root(ONE, TWO))
    take_up(database, root(ONE, TWO))
    with pytest.raises(SetupError, match="version 2 was taken up here already"):
        take_up(database, root(ONE))


def test_another_chain_is_refused(database: Database) -> None:
    take_up(database, root(ONE, TWO))
    with pytest.raises(SetupError, match="find out who made this one"):
        take_up(database, root(ONE, OTHER))
