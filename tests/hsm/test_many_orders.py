"""A signer that has known more orders than fit into a frame: its status and its balance still leave it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.messages import accepted, frame
from tests.hsm.floor import Device
from tests.hsm.leased import Leased
from trust.account import Balance
from trust.dsse import MAX_ENVELOPE_BYTES
from trust.statement import envelope, read

MANY, TOLD = 300, 100
LONGEST = "order-{:04}-" + "x" * 53


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path)


def test_status_and_balance_fit_whatever_the_number_of_orders(plant: Leased) -> None:
    """An order is for ever: a signer whose status grew with each would end with the 150th or so."""
    for number in range(MANY):
        plant.factory.import_order(envelope(plant.order(order_id=LONGEST.format(number), quantity=1, allowance=0)))
    status, balance = plant.factory.status(), plant.factory.balance()
    for answer in (status, balance):
        frame(accepted(2**53 - 1, answer))
    assert len(balance.to_json()) <= MAX_ENVELOPE_BYTES
    newest = [LONGEST.format(number) for number in range(MANY - TOLD, MANY)]
    assert [each.order_id for each in status.orders] == newest
    assert read(balance, Balance).orders == status.orders


def test_an_order_under_which_something_can_be_begun_is_told_before_newer_ones_that_are_done(plant: Leased) -> None:
    plant.renew()
    open_one = plant.order(order_id="open", quantity=2, allowance=0)
    plant.factory.import_order(envelope(open_one))
    for number in range(TOLD):
        plant.factory.import_order(envelope(plant.order(order_id=f"done-{number}", quantity=1, allowance=0)))
        plant.factory.return_allotment(f"done-{number}")
    floor = plant.floor(open_one)
    plant.factory.sign_pin(floor.pin(Device()))
    told = plant.factory.status().orders
    assert (len(told), told[0].order_id, told[0].pins) == (TOLD, "open", 1)
    assert told[1].order_id == "done-1"
    assert plant.factory.return_allotment("done-0"), "one that is not told of is known all the same"
