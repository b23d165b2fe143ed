"""Minutes of a station that has left: its keys may be destroyed when the newest root names it no more."""

from __future__ import annotations

import msgspec
import pytest

from tests.trust.people import approved_by, file_of, first_root, next_root, people
from trust.minutes import Minutes, Step, approved_minutes
from trust.root import TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import StatementError, envelope

WHO = people()
OFFICERS = (WHO["ada"], WHO["ben"])
FIRST = first_root(WHO.values())
LEFT = min(FIRST.stations)
OTHERS = {"st-99": FIRST.stations[LEFT]}


def without() -> TrustedRoot:
    """Version 2 has another station in its place."""
    line = approved_by(wrap(FIRST), *OFFICERS)
    return parse(file_of(line, approved_by(wrap(next_root(FIRST, line, stations=OTHERS)), *OFFICERS)))


def test_a_station_that_has_left_is_known_by_an_older_version() -> None:
    trusted = without()
    made = Minutes(
        environment="plant-a", root_sha256=trusted.sha256, signer=LEFT, role="factory", subject="key-destroyed",
        act_sha256="ab" * 32, officers=("ada", "ben"), software="keystation", token="t", module="m", keys=(),
        steps=(Step(what="destroyed", found="2 objects"),), began_at="2026-11-22T20:00:00Z", ended_at="2026-11-22T20:01:00Z",
    )  # fmt: skip
    assert approved_minutes(approved_by(envelope(made), *OFFICERS), trusted) == made
    for changes in ({"signer": "st-98"}, {"role": "cloud"}):
        other = msgspec.structs.replace(made, **changes)
        with pytest.raises(StatementError, match="whom the trust root does not name"):
            approved_minutes(approved_by(envelope(other), *OFFICERS), trusted)
