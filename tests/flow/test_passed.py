"""A completion on record, or shown by the registry, turns the lamp green only if all of it holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from station import passed
from station.faults import Fault
from tests.registry.make import Device, World, world
from tests.station.ledgerkit import receipt_for
from trust.dsse import Envelope
from trust.statement import Possession, Verification


def line_of(made: World) -> Any:
    return SimpleNamespace(root=made.trusted, work=made.order, order=made.order_envelope)


def finished(made: World, device: Device, proof: Possession) -> tuple[Any, Envelope]:
    """What is pinned of a unit, and its completion with the second proof as given."""
    pin = made.pin(device)
    receipt = receipt_for(made, pin)
    verification = Verification(cycle="reset", possession=proof, handshake="not-asked")
    pinned = SimpleNamespace(pin=pin, receipt=receipt)
    return pinned, made.completion(device, pin, receipt, verification=verification)


def test_a_completion_that_holds_is_believed() -> None:
    made, device = world(), Device()
    pinned, done = finished(made, device, device.possession("verify"))
    passed.before(line_of(made), pinned, done, done, refused=None)


@pytest.mark.parametrize(("where", "code"), [("here", "ledger-conflict"), ("there", "registry-wrong")])
def test_one_that_does_not_hold_is_the_fault_of_who_shows_it(where: str, code: str) -> None:
    """What else does not hold: tests/contract/test_judges.py."""
    made, device = world(), Device()
    pinned, done = finished(made, device, Device(device_id=device.device_id).possession("verify"))
    here, there = (done, None) if where == "here" else (None, done)
    with pytest.raises(Fault, match="proof") as caught:
        passed.before(line_of(made), pinned, here, there, refused=None)
    assert caught.value.code == code
