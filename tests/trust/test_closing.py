"""A real unit may be completed as real, or as emulated where the bench is; what was called emulated never becomes real."""

from __future__ import annotations

import msgspec
import pytest

from tests.registry.make import Device, World, world
from tests.station.ledgerkit import receipt_for
from trust import closing
from trust.closing import About
from trust.statement import Completion, read


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.mark.parametrize("completed", [True, False])
@pytest.mark.parametrize("reported", [True, False])
@pytest.mark.parametrize("pinned", [True, False])
def test_emulated_is_never_lost(made: World, *, pinned: bool, reported: bool, completed: bool) -> None:
    device = Device()
    declared = msgspec.structs.replace(made.pin_statement(device).declared, emulated=pinned)
    pin = made.pin(device, declared=declared)
    receipt = receipt_for(made, pin)
    report = made.report(device, emulated=int(reported))
    done = read(made.completion(device, pin, receipt, report=report, emulated=completed), Completion)
    found = closing.problem(made.trusted, done, pin, receipt, made.order)
    if completed or not (pinned or reported):
        assert found is None
    else:
        assert found is not None and found.about is (About.PIN if pinned else About.REPORT)
