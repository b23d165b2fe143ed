"""What changes an order's numbers at the signer: scrap frees a place, a return zeroes the rest, an act raises the limit.

And what never does: pin statements beyond quantity and allowance without an act, completions beyond quantity.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor
from tests.hsm.leased import Leased
from tests.registry.make import signed
from trust.account import AllotmentReturn, Balance
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import Allotment
from trust.revocation import Revocation
from trust.statement import PinStatement, read

QUANTITY, ALLOWANCE = 2, 2


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    made = Leased.make(tmp_path, units=100)
    made.renew()
    return made


@pytest.fixture
def floor(plant: Leased) -> Floor:
    return plant.floor(plant.order(quantity=QUANTITY, allowance=ALLOWANCE))


def complete(floor: Floor, device: Device, pin: Envelope, receipt: Envelope) -> Envelope:
    return floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)


def finished(floor: Floor) -> Device:
    device = Device()
    complete(floor, device, *floor.pinned(device))
    return device


def refused(ask: Any, *args: Any) -> Code:
    with pytest.raises(SignerError) as caught:
        ask(*args)
    return caught.value.code


def one_more(floor: Floor) -> Code | None:
    try:
        floor.factory.sign_pin(floor.pin(Device()))
    except SignerError as error:
        return error.code
    return None


def test_scrap_frees_a_place_and_is_paid_from_the_allowance(plant: Leased, floor: Floor) -> None:
    devices = [finished(floor) for _ in range(QUANTITY)]
    assert one_more(floor) is Code.ORDER_EXHAUSTED, "begun though all units are completed"
    for number, device in enumerate(devices, 1):
        floor.factory.import_revocation(plant.revocation(floor, device))
        floor.factory.import_revocation(plant.revocation(floor, device))  # the same again frees nothing more
        finished(floor)
        (count,) = floor.factory.status().orders
        assert (count.pins, count.completions, count.scrapped) == (QUANTITY + number, QUANTITY + number, number)
    assert one_more(floor) is Code.ORDER_EXHAUSTED
    floor.factory.import_revocation(plant.revocation(floor, Device()))
    assert one_more(floor) is Code.ORDER_EXHAUSTED, "scrap raised the number of pin statements"


def test_scrap_of_a_unit_that_was_never_finished_frees_nothing(plant: Leased, floor: Floor) -> None:
    devices = [Device() for _ in range(QUANTITY + ALLOWANCE)]
    pinned = [(device, *floor.pinned(device)) for device in devices]
    floor.factory.import_revocation(plant.revocation(floor, devices[0]))
    assert one_more(floor) is Code.ORDER_EXHAUSTED
    for device, pin, receipt in pinned[1 : 1 + QUANTITY]:
        complete(floor, device, pin, receipt)
    device, pin, receipt = pinned[-1]
    assert refused(complete, floor, device, pin, receipt) is Code.ORDER_EXHAUSTED


def test_nothing_more_is_signed_for_what_was_scrapped(plant: Leased, floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    floor.factory.import_revocation(plant.revocation(floor, device))
    assert refused(complete, floor, device, pin, receipt) is Code.DEVICE_SCRAPPED
    never = Device()
    floor.factory.import_revocation(plant.revocation(floor, never))
    assert refused(floor.factory.sign_pin, floor.pin(never)) is Code.DEVICE_SCRAPPED


def test_only_the_registrys_word_scraps(plant: Leased, floor: Floor) -> None:
    device = finished(floor)
    good = plant.revocation(floor, device)
    for forged in (
        signed(read(good, Revocation), plant.who["ada"].key),
        plant.cloud.signatory.keys.envelope("receipt", good.payload_type, good.payload),
        plant.factory.signatory.keys.envelope("pin", good.payload_type, good.payload),
        plant.revocation(floor, device, registry="reg-02"),
        plant.revocation(floor, device, root_sha256="ab" * 32),
    ):
        assert refused(floor.factory.import_revocation, forged) is Code.STATEMENT_INVALID
    assert (
        refused(floor.factory.import_revocation, plant.revocation(floor, Device(), order_id="order-9"))
        is Code.ORDER_UNKNOWN
    )
    assert floor.factory.status().orders[0].scrapped == 0


@pytest.mark.parametrize("other", [{"job": "ab" * 16}, {"order_id": "order-9"}], ids=["job", "order"])
def test_what_another_station_pinned_is_scrapped_and_frees_no_place(
    plant: Leased, floor: Floor, other: dict[str, str]
) -> None:
    """This signer signed for it while the WAN was down, another station was faster, and its unit was scrapped."""
    begun = Device()
    pin, receipt = floor.pinned(begun)
    clashed, good = finished(floor), finished(floor)
    for each in (clashed, clashed, begun):
        floor.factory.import_revocation(plant.revocation(floor, each, **other))
    assert floor.factory.status().orders[0].scrapped == 0, "it was none of this order's units"
    assert refused(complete, floor, begun, pin, receipt) is Code.DEVICE_SCRAPPED
    floor.factory.import_revocation(plant.revocation(floor, good))
    assert floor.factory.status().orders[0].scrapped == 1, "control: its own unit's scrap does"


def test_a_device_that_got_another_key_since_is_scrapped_by_that_key(plant: Leased, floor: Floor) -> None:
    device = finished(floor)
    floor.factory.import_revocation(plant.revocation(floor, device, fingerprint="ab" * 32))
    assert floor.factory.status().orders[0].scrapped == 1


def test_a_return_zeroes_what_is_unused_and_lets_units_in_work_be_finished(floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    answer = floor.factory.return_allotment(floor.order.order_id)
    said = read(answer, AllotmentReturn)
    assert (said.pins, said.completions, said.quantity, said.allowance) == (1, 0, QUANTITY - 1, ALLOWANCE)
    assert one_more(floor) is Code.ORDER_EXHAUSTED
    complete(floor, device, pin, receipt)
    (count,) = floor.factory.status().orders
    assert (count.pins, count.pin_limit, count.completions, count.completion_limit, count.returned) == (
        1,
        1,
        1,
        1,
        True,
    )
    assert floor.factory.return_allotment(floor.order.order_id) == answer, "the same statement ever after"
    floor.factory.import_order(floor.order_envelope)  # importing it again gives nothing back
    assert one_more(floor) is Code.ORDER_EXHAUSTED


def test_what_two_stations_return_and_use_is_never_more_than_the_order(plant: Leased) -> None:
    parts = {"st-01": Allotment(quantity=5, allowance=2)}
    floor = plant.floor(plant.order(quantity=9, allowance=3, stations=parts))
    for _ in range(3):
        finished(floor)
    said = read(floor.factory.return_allotment(floor.order.order_id), AllotmentReturn)
    assert (said.quantity, said.allowance) == (2, 2)


def test_an_act_raises_the_pin_statements_and_not_the_quantity(plant: Leased, floor: Floor) -> None:
    pinned = [(device, *floor.pinned(device)) for device in (Device() for _ in range(QUANTITY + ALLOWANCE))]
    assert one_more(floor) is Code.ORDER_EXHAUSTED
    about = {"order_id": floor.order.order_id, "order_sha256": floor.order_envelope.payload_sha256, "units": 1}
    act = plant.act("ada", "ben", kind="raise-allowance", **about)
    floor.factory.perform_act(act)
    assert one_more(floor) is None
    assert one_more(floor) is Code.ORDER_EXHAUSTED
    assert refused(floor.factory.perform_act, act) is Code.ACT_USED
    for device, pin, receipt in pinned[:QUANTITY]:
        complete(floor, device, pin, receipt)
    assert refused(complete, floor, *pinned[-1]) is Code.ORDER_EXHAUSTED
    assert floor.factory.status().orders[0].raised == 1


def test_a_stop_holds_over_restarts_until_two_officers_lift_it(plant: Leased, floor: Floor) -> None:
    device = Device()
    pin, receipt = floor.pinned(device)
    counters = plant.factory.signatory.counters
    counters.documents.add_stop("the token has made more signatures than are counted", 0)
    again = plant.floor(floor.order, plant.signer("factory"))
    assert one_more(again) is Code.STOPPED
    assert refused(complete, again, device, pin, receipt) is Code.STOPPED
    assert again.factory.sign_pin(read_pin(pin)) == pin, "what was signed before is still answered"
    assert refused(again.factory.perform_act, plant.act("ada", kind="lift-stop", stop=1)) is Code.ACT_NOT_APPROVED
    assert (
        refused(again.factory.perform_act, plant.act("ada", "ben", kind="lift-stop", stop=2)) is Code.STATEMENT_INVALID
    )
    again.factory.perform_act(plant.act("ada", "ben", kind="lift-stop", stop=1))
    assert one_more(again) is None
    assert again.factory.status().stopped == ""


def read_pin(pin: Envelope) -> PinStatement:
    return read(pin, PinStatement)


def test_the_balance_is_the_signers_own_books(plant: Leased, floor: Floor) -> None:
    finished(floor)
    said = read(floor.factory.balance(), Balance)
    assert said.station == "st-01"
    assert (said.tier, said.lease_serial, said.lease_up_to, said.pins) == ("lease", 1, 100, 1)
    assert said.orders == floor.factory.status().orders
    assert {purpose: each.payloads for purpose, each in said.signatures.items()} == {
        "account": 1,
        "pin": 1,
        "completion": 1,
    }
    assert (said.by_token, said.stopped) == (None, "")
    assert datetime.fromisoformat(said.made_at) <= datetime.now(UTC)
    assert floor.factory.balance().signed_by(plant.trusted.root.account_key("st-01"))
