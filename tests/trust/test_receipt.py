"""A receipt is the registry's signed word on one very statement, and on no other."""

from __future__ import annotations

import pytest

from tests.registry.make import Device, World, world
from tests.station.ledgerkit import receipt_for
from trust import receipt as receipts
from trust.dsse import Envelope


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def statements(made: World) -> dict[str, Envelope]:
    device = Device()
    pin = made.pin(device)
    return {"pin": pin, "completion": made.completion(device, pin, receipt_for(made, pin))}


@pytest.mark.parametrize("kind", ["pin", "completion"])
@pytest.mark.parametrize(
    "name",
    [
        "environment", "root_sha256", "registry", "subject", "statement_sha256", "order_id", "job", "device_id",
        "fingerprint", "state",
    ],
)  # fmt: skip
def test_a_receipt_is_about_this_statement(made: World, kind: str, name: str) -> None:
    statement = statements(made)[kind]
    other = {
        "environment": "site-1", "root_sha256": "00" * 32, "registry": "registry-02", "statement_sha256": "00" * 32,
        "order_id": "order-8", "job": "00" * 16, "device_id": "11" * 12, "fingerprint": "00" * 32,
        "subject": "completion" if kind == "pin" else "pin", "state": "active" if kind == "pin" else "provisional",
    }  # fmt: skip
    assert receipts.problem(made.trusted, statement, receipt_for(made, statement)) is None
    problem = receipts.problem(made.trusted, statement, receipt_for(made, statement, **{name: other[name]}))
    assert problem is not None
    assert problem.startswith("receipt: ")


def test_a_receipt_is_signed_by_the_registry(made: World) -> None:
    pin = statements(made)["pin"]
    forged = receipt_for(world(), pin, root_sha256=made.trusted.sha256)
    assert "not signed by key" in (receipts.problem(made.trusted, pin, forged) or "")
    assert receipts.problem(made.trusted, pin, pin) is not None
