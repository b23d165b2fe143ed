"""A completion that the registry shows, broken in one thing each and signed by the right key all the same: no lamp for it.

The table is that of `test_judges`; there the flow is asked about what is on its own record.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from station import passed
from station.faults import Fault
from tests.contract.judges import Court, Unit
from tests.contract.test_judges import COMPLETIONS
from trust.dsse import Envelope
from trust.statement import Completion


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    made = Court(tmp_path_factory.mktemp("court"))
    yield made
    made.database.close()


def believe(court: Court, unit: Unit, *, here: Envelope | None, there: Envelope) -> None:
    pinned: Any = SimpleNamespace(pin=unit.pin, receipt=unit.receipt)
    passed.before(court.line, pinned, here, there, refused=None)


@pytest.mark.parametrize("also_here", [False, True])
def test_a_right_one_is_believed(court: Court, *, also_here: bool) -> None:
    unit = court.unit()
    sealed = court.seal(unit.done, "completion")
    believe(court, unit, here=sealed if also_here else None, there=sealed)


def test_a_right_one_under_another_purposes_key_is_not(court: Court) -> None:
    unit = court.unit()
    with pytest.raises(Fault) as caught:
        believe(court, unit, here=None, there=court.seal(unit.done, "pin"))
    assert caught.value.code == "registry-wrong"


@pytest.mark.parametrize("also_here", [False, True], ids=["nothing here", "a right one here"])
@pytest.mark.parametrize("name", COMPLETIONS)
def test_a_broken_one_is_refused(court: Court, name: str, *, also_here: bool) -> None:
    unit = court.unit()
    broken: Completion = COMPLETIONS[name][0](court, unit)
    right = court.seal(unit.done, "completion") if also_here else None
    with pytest.raises(Fault) as caught:
        believe(court, unit, here=right, there=court.seal(broken, "completion"))
    assert caught.value.code == "registry-wrong"
    assert caught.value.detail.startswith("completion: ")
