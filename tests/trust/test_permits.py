"""What an order leaves open it permits: the rows of `tests/contract/test_judges.py` say what it refuses."""

from __future__ import annotations

import pytest

from tests.registry.make import Device, World, world
from trust.order import permits


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_key_of_unproven_origin_where_the_order_allows_it(made: World, *, proven: bool, allowed: bool) -> None:
    plant = made.with_order(unproven_origin=allowed)
    pin = plant.pin_statement(Device(), origin_proven=proven)
    said = permits(plant.order, plant.order_envelope.payload_sha256, pin)
    assert (said is None) is (proven or allowed)


@pytest.mark.parametrize(("named", "taken"), [((), True), (("station-01",), True), (("station-02",), False)])
def test_an_order_that_names_no_station_is_for_all(made: World, named: tuple[str, ...], *, taken: bool) -> None:
    plant = made.with_order(stations=named)
    said = permits(plant.order, plant.order_envelope.payload_sha256, plant.pin_statement(Device()))
    assert (said is None) is taken


@pytest.mark.parametrize("origin", ["generated", "collected"])
def test_each_origin_that_it_lists(made: World, origin: str) -> None:
    pin = made.pin_statement(Device(), origin=origin)
    assert permits(made.order, made.order_envelope.payload_sha256, pin) is None
