"""A completion on record, or shown by the registry, turns the lamp green only if all of it holds."""

from types import SimpleNamespace
from typing import Any

import pytest

from station.checks import passed_before
from station.faults import Fault
from tests.registry.make import Device, World, world
from tests.station.ledgerkit import receipt_for
from trust.dsse import Envelope
from trust.statement import Possession, Verification


def line_of(made: World) -> Any:
    return SimpleNamespace(root=made.trusted, work=made.order, order=made.order_envelope)


def finished(made: World, device: Device, proof: Possession) -> tuple[Envelope, Envelope]:
    """Pin statement and completion of a unit, the second proof as given."""
    pin = made.pin(device)
    verification = Verification(cycle="reset", possession=proof, handshake="none", handshake_waiver="not-built")
    return pin, made.completion(device, pin, receipt_for(made, pin), verification=verification)


def test_a_completion_that_holds_is_believed() -> None:
    made, device = world(), Device()
    pin, done = finished(made, device, device.possession("verify"))
    passed_before(line_of(made), pin, done, done, refused=None)


@pytest.mark.parametrize("where", ["here", "there"])
@pytest.mark.parametrize("what", ["another key", "another context", "another challenge", "short challenge"])
def test_a_completion_whose_second_proof_does_not_hold_is_not_believed(where: str, what: str) -> None:
    made, device = world(), Device()
    right = device.possession("verify")
    proof = {
        "another key": Device(device_id=device.device_id).possession("verify"),
        "another context": device.possession("pin"),
        "another challenge": Possession(challenge=bytes(32), context="verify", signatures=right.signatures),
        "short challenge": Possession(challenge=bytes(31), context="verify", signatures=right.signatures),
    }[what]
    pin, done = finished(made, device, proof)
    here, there = (done, None) if where == "here" else (None, done)
    with pytest.raises(Fault, match="proof") as caught:
        passed_before(line_of(made), pin, here, there, refused=None)
    assert caught.value.code == ("ledger-conflict" if where == "here" else "registry-wrong")
