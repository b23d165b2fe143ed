"""What an order leaves open it permits, and what it says it insists upon.

The rows of `tests/contract/test_judges.py` and `test_order_terms.py` say that every party asks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.registry.make import FIRMWARE, MADE_AT, Device, World, world
from trust.order import Allotment, Firmware, OrderError, SecurityState, permits, window_problem
from trust.order_check import check
from trust.statement import PinStatement


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def said(plant: World, pin: PinStatement) -> str | None:
    return permits(plant.order, plant.order_envelope.payload_sha256, pin)


def declared(plant: World, **changes: Any) -> PinStatement:
    pin = plant.pin_statement(Device())
    return msgspec.structs.replace(pin, declared=msgspec.structs.replace(pin.declared, **changes))


@pytest.mark.parametrize("proven", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
def test_a_key_of_unproven_origin_where_the_order_allows_it(made: World, *, proven: bool, allowed: bool) -> None:
    plant = made.with_order(unproven_origin=allowed)
    pin = plant.pin_statement(Device(), origin_proven=proven)
    assert (said(plant, pin) is None) is (proven or allowed)


@pytest.mark.parametrize(
    ("named", "taken"), [({}, False), ({"station-01": Allotment(quantity=1)}, True), ({"station-02": Allotment(quantity=1)}, False)]
)  # fmt: skip
def test_an_order_is_for_the_stations_that_it_names(made: World, named: dict[str, Allotment], *, taken: bool) -> None:
    """One that names none is for nobody, and is no order."""
    plant = made.with_order(stations=named)
    assert (said(plant, plant.pin_statement(Device())) is None) is taken
    if not named:
        with pytest.raises(OrderError, match="nobody could make it"):
            check(plant.order)


def test_a_station_that_is_not_named_is_allotted_nothing(made: World) -> None:
    plant = made.with_order(stations={"station-01": Allotment(quantity=3, allowance=1)})
    assert plant.order.allotted("station-01") == Allotment(quantity=3, allowance=1)
    assert plant.order.allotted("station-02") == Allotment(quantity=0, allowance=0)


@pytest.mark.parametrize("origin", ["generated", "collected"])
def test_each_origin_that_it_lists(made: World, origin: str) -> None:
    assert said(made, made.pin_statement(Device(), origin=origin)) is None


def test_the_devices_on_its_list_or_any_without_one(made: World) -> None:
    device, other = Device(), Device()
    plant = made.with_order(devices=(str(device.device_id),))
    assert said(plant, plant.pin_statement(device)) is None
    assert said(plant, plant.pin_statement(other)) == f"device {other.device_id} is not on the order's list"
    assert said(made, made.pin_statement(other)) is None


BEGINS, ENDS = "2026-11-22T20:00:00Z", "2026-11-22T21:00:00Z"


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        (BEGINS, True),
        (ENDS, True),
        ("2026-11-22T20:30:00.5Z", True),
        ("2026-11-22T19:59:59.999999Z", False),
        ("2026-11-22T21:00:00.000001Z", False),
        ("2025-11-22T20:30:00Z", False),
        ("2026-13-22T20:30:00Z", False),
        ("2026-11-22T20:30:60Z", False),
        ("0000-00-00T00:00:00Z", False),
    ],
)
def test_the_window_is_closed_at_both_ends(made: World, at: str, *, taken: bool) -> None:
    """Compared as times and not as texts; a time that does not exist is in no window, and no traceback."""
    plant = made.with_order(not_before=BEGINS, not_after=ENDS)
    check(plant.order)
    problem = said(plant, plant.pin_statement(Device(), made_at=at))
    assert problem == (None if taken else f"the statement was made at {at}, outside {BEGINS} to {ENDS}")


def test_an_order_with_a_window_that_does_not_exist_permits_nothing(made: World) -> None:
    plant = made.with_order(not_before="2026-00-00T00:00:00Z")
    assert said(plant, plant.pin_statement(Device())) is not None


@pytest.mark.parametrize(
    ("minute", "words"), [(59, "it begins at"), (60, None), (120, None), (121, "it ended at")]
)  # fmt: skip
def test_whether_something_may_be_begun_now(made: World, minute: int, words: str | None) -> None:
    order = made.with_order(not_before=BEGINS, not_after=ENDS).order
    problem = window_problem(order, datetime(2026, 11, 22, 19 + minute // 60, minute % 60, tzinfo=UTC))
    assert (problem is None) if words is None else (problem or "").startswith(words)


def test_a_completion_may_be_made_after_the_window(made: World) -> None:
    """What was begun in time is finished."""
    plant = made.with_order(not_before="2020-01-01T00:00:00Z", not_after="2020-02-01T00:00:00Z")
    pin = plant.pin(Device())
    done = plant.completion_statement(Device(), pin, pin, made_at=MADE_AT)
    assert permits(plant.order, plant.order_envelope.payload_sha256, done) is None


@pytest.mark.parametrize(
    ("asked", "debug_closed", "readout_protected", "problem"),
    [
        (SecurityState(), False, False, None),
        (SecurityState(debug_closed=True), True, False, None),
        (SecurityState(debug_closed=True), False, True, "its debug port is open"),
        (SecurityState(readout_protected=True), False, True, None),
        (SecurityState(readout_protected=True), True, False, "its memory can be read out"),
        (SecurityState(debug_closed=True, readout_protected=True), True, True, None),
        (SecurityState(debug_closed=True, readout_protected=True), True, False, "its memory can be read out"),
    ],
)
def test_the_state_that_a_device_is_keyed_in(
    made: World, asked: SecurityState, problem: str | None, *, debug_closed: bool, readout_protected: bool
) -> None:
    plant = made.with_order(before_lock=asked)
    pin = declared(plant, debug_closed=debug_closed, readout_protected=readout_protected)
    assert said(plant, pin) == (problem and f"the device may not be keyed like this: {problem}")


def test_the_state_after_the_lock_is_not_asked_for_before(made: World) -> None:
    plant = made.with_order(after_lock=SecurityState(debug_closed=True, readout_protected=True))
    assert said(plant, declared(plant, debug_closed=False, readout_protected=False)) is None


@pytest.mark.parametrize(
    ("version", "platform", "problem"),
    [
        ("", "", None),
        ("1.0", "", None),
        ("", "emulated", None),
        ("1.0", "emulated", None),
        ("1.1", "emulated", "firmware version is '1.0', the order says '1.1'"),
        ("1.0", "nrf52", "platform is 'emulated', the order says 'nrf52'"),
        ("1", "", "firmware version is '1.0', the order says '1'"),
    ],
)
def test_what_a_device_must_say_of_its_image(made: World, version: str, platform: str, problem: str | None) -> None:
    plant = made.with_order(firmware=(Firmware(sha256=FIRMWARE, version=version, platform=platform),))
    assert said(plant, plant.pin_statement(Device())) == (problem and f"{problem} for {FIRMWARE[:16]}…")


def test_version_and_platform_are_those_of_the_very_image(made: World) -> None:
    """Two images with names: a device must not run one and say that it is the other."""
    images = (Firmware(sha256=FIRMWARE, version="1.0"), Firmware(sha256="cd" * 32, version="2.0"))
    plant = made.with_order(firmware=images)
    assert plant.order.firmware_hashes == {FIRMWARE, "cd" * 32}
    assert said(plant, declared(plant, firmware_sha256="cd" * 32, firmware_version="2.0")) is None
    assert said(plant, declared(plant, firmware_sha256="cd" * 32)) is not None
    assert said(plant, declared(plant, firmware_version="2.0")) is not None
    assert said(plant, declared(plant, firmware_sha256="ee" * 32)) is not None
