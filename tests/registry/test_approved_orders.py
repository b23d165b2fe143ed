"""Approved orders at the registry, and a trust root that has gone on since statement and order were made."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from registry.database import Database
from registry.errors import RefusedError
from registry.pins.service import PinService
from tests.registry.approved import ADA, BEN, PIA, WHO, approved, approved_world, second
from tests.registry.make import Device, World, signed, world
from tests.trust.orders import changed
from tests.trust.people import approved_by, approvers, person
from trust.codes import Code
from trust.dsse import Envelope, Signature
from trust.root import TrustedRoot

pytestmark = pytest.mark.both_databases


@pytest.fixture(scope="module")
def made() -> World:
    return approved_world()


def service(database: Database, made: World, trusted: TrustedRoot | None = None) -> PinService:
    of = replace(made, trusted=trusted or made.trusted)
    return PinService(database, of.trusted, of.signer())


def code(asked: PinService, device: Device, pin: Envelope, order: Envelope) -> Code:
    with pytest.raises(RefusedError) as caught:
        asked.pin(device.device_id, pin, order)
    assert asked.find(device.device_id) is None
    return caught.value.code


def test_an_approved_order_is_taken_and_the_statement_says_that_it_is(database: Database, made: World) -> None:
    device, asked = Device(), service(database, made)
    assert code(asked, device, made.pin(device, order_signed=False), approved(made)) is Code.ORDER_REFUSES
    assert code(asked, device, made.pin(device, order_signed=True), made.order_envelope) is Code.ORDER_REFUSES
    assert asked.pin(device.device_id, made.pin(device, order_signed=True), approved(made)).state == "provisional"


def test_approvals_that_do_not_hold_are_refused(database: Database, made: World) -> None:
    device, asked = Device(), service(database, made)
    pin, bare = made.pin(device, order_signed=True), made.order_envelope
    junk = msgspec.structs.replace(bare, signatures=(Signature("x", b"y"),))
    for few in (
        junk,
        approved_by(bare, PIA),
        approved_by(bare, PIA, person("eve", "quality")),
        approved_by(bare, ADA, BEN),
    ):
        assert code(asked, device, pin, few) is Code.ORDER_NOT_APPROVED
    other = changed(made.order, quantity=2000)
    moved = msgspec.structs.replace(replace(made, order=other).order_envelope, signatures=approved(made).signatures)
    assert code(asked, device, pin, moved) is Code.ORDER_NOT_APPROVED


def test_what_was_made_under_an_earlier_version_is_taken(database: Database, made: World) -> None:
    device, newer = Device(), second(made)
    assert newer.root.version == 2
    pin = made.pin(device, order_signed=True)
    assert service(database, made, newer).pin(device.device_id, pin, approved(made)).state == "provisional"


def test_what_was_made_under_a_later_version_is_not(database: Database, made: World) -> None:
    device, newer = Device(), second(made)
    ahead = replace(made, trusted=newer)
    pin = ahead.pin(device, order_signed=True)
    assert code(service(database, made), device, pin, approved(ahead)) is Code.WRONG_ROOT


def test_a_pin_key_that_the_root_names_no_more_pins_nothing_new(database: Database, made: World) -> None:
    spare = world().stations["station-01"]
    device = Device()
    newer = second(made, stations={**made.trusted.root.stations, "station-01": spare.keys})
    asked = service(database, made, newer)
    statement = made.pin_statement(device, order_signed=True)
    assert code(asked, device, made.pin(device, order_signed=True), approved(made)) is Code.STATEMENT_INVALID
    assert asked.pin(device.device_id, signed(statement, spare.pin), approved(made)).state == "provisional"


def test_an_approver_who_has_left_takes_the_order_along(database: Database, made: World) -> None:
    device, otto = Device(), person("otto", "quality")
    left = [each for name, each in WHO.items() if name != "quinn"]
    newer = second(made, approvers=approvers([*left, otto]))
    asked, pin = service(database, made, newer), made.pin(device, order_signed=True)
    assert code(asked, device, pin, approved(made)) is Code.ORDER_NOT_APPROVED
    assert asked.pin(device.device_id, pin, approved_by(made.order_envelope, PIA, otto)).state == "provisional"
