"""A signer counts against its own station's allotment, not against the whole order."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm.signer import SignerError
from tests.contract.judges import OTHER, STATION, Court
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties, make_factory
from trust.account import AllotmentReturn
from trust.codes import Code
from trust.order import Allotment
from trust.statement import read


@pytest.fixture
def floor(parties: Parties) -> Floor:
    parts = {"st-01": Allotment(quantity=2, allowance=1), "st-02": Allotment(quantity=8, allowance=3)}
    order = make_order(parties.trusted, quantity=10, allowance=4, stations=parts)
    return Floor(parties.trusted, order, parties.factory, parties.cloud)


def test_no_more_devices_than_this_stations_quantity_and_allowance(floor: Floor, parties: Parties) -> None:
    for _ in range(3):
        floor.factory.sign_pin(floor.pin(Device()))
    with pytest.raises(SignerError, match=r"its 2 units are completed here, or 3 devices") as caught:
        floor.factory.sign_pin(floor.pin(Device()))
    assert caught.value.code is Code.ORDER_EXHAUSTED
    assert parties.factory_token.signed["pin"] == 3


def test_no_more_completions_than_this_stations_quantity(floor: Floor) -> None:
    pinned = [(device, *floor.pinned(device)) for device in (Device(), Device(), Device())]
    for device, pin, receipt in pinned[:2]:
        floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)
    device, pin, receipt = pinned[2]
    with pytest.raises(SignerError, match="all 2 units of this station are completed") as caught:
        floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)
    assert caught.value.code is Code.ORDER_EXHAUSTED


def test_a_station_that_is_allotted_nothing_begins_nothing(parties: Parties) -> None:
    parts = {"st-01": Allotment(quantity=0), "st-02": Allotment(quantity=3)}
    floor = Floor(parties.trusted, make_order(parties.trusted, stations=parts), parties.factory, parties.cloud)
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device()))
    assert caught.value.code is Code.ORDER_EXHAUSTED


def test_units_of_another_station_that_were_finished_here_are_not_given_back(tmp_path: Path) -> None:
    """They use this station's quantity; the rest is what is left beside them."""
    court = Court(tmp_path, stations=(STATION, OTHER), quantity=8, allowance=2)
    other = make_factory(tmp_path / OTHER, OTHER, court.trusted, court.tokens[OTHER])
    beside = Floor(court.trusted, court.floor.order, other, court.floor.cloud, OTHER)
    for _ in range(3):
        device = Device()
        pin = other.sign_pin(beside.pin(device))
        receipt = court.registry.pin(device.device_id, pin, beside.order_envelope).pin.receipt
        court.floor.factory.sign_completion(court.floor.completion(device, pin, receipt), pin, receipt)
    given = read(court.floor.factory.return_allotment(court.floor.order.order_id), AllotmentReturn)
    assert (given.pins, given.completions, given.quantity, given.allowance) == (0, 3, 1, 4)
    (count,) = court.floor.factory.status().orders
    assert (count.pin_limit, count.completion_limit, count.completions) == (0, 3, 3)
    court.database.close()
