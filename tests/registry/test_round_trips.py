"""What a request costs in transactions, and that an answer made without reading back is what reading back would give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import Connection, event

from ledger.durable import READING
from registry.clock import stamp, utc_now
from registry.database import Database
from registry.errors import RefusedError
from registry.orders.papers import Papers
from registry.pins import checks, store
from registry.pins.service import PinService
from tests.registry.make import Device, SoftwareReceiptSigner, World, world
from trust import root_file as roots
from trust.codes import Code
from trust.root import TrustedRoot

pytestmark = pytest.mark.both_databases


@pytest.fixture
def transactions(database: Database) -> Callable[[Callable[[], object]], list[str]]:
    """The transactions that a call makes: 'read' or 'write', in order."""
    begun: list[str] = []

    def note(connection: Connection) -> None:
        begun.append("read" if connection.get_execution_options().get(READING) else "write")

    event.listen(database.engine, "begin", note)

    def made_by(call: Callable[[], object]) -> list[str]:
        begun.clear()
        call()
        return begun.copy()

    return made_by


def test_a_request_makes_no_transaction_too_many(
    service: PinService, made: World, transactions: Callable[[Callable[[], object]], list[str]]
) -> None:
    """The statement's own commit and the receipt's stay two: a receipt is signed from what is committed only."""
    device = Device()
    statement = made.pin(device)
    assert transactions(lambda: service.find(device.device_id)) == ["read"]
    assert transactions(lambda: service.pin(device.device_id, statement, made.order_envelope)) == ["write", "write"]
    pinned = service.find(device.device_id)
    assert pinned is not None
    completion = made.completion(device, statement, pinned.pin.receipt)
    assert transactions(lambda: service.complete(device.device_id, completion)) == ["read", "write", "write"]
    assert transactions(lambda: service.find(device.device_id)) == ["read"]


def test_what_an_insert_says_is_what_is_loaded(
    service: PinService, database: Database, made: World, signer: SoftwareReceiptSigner
) -> None:
    device = Device()
    checked, at = (
        checks.check_pin(made.trusted, device.device_id, made.pin(device), made.order_envelope),
        stamp(utc_now()),
    )
    with database.write() as connection:
        Papers(made.trusted).keep(connection, "order-7", made.order_envelope, at)
        (inserted,) = store.insert_pins(connection, [checked], at)
    assert inserted.pin.is_new
    inserted = replace(inserted, pin=replace(inserted.pin, is_new=False))
    with database.read() as connection:
        assert store.load(connection, device.device_id) == inserted
        assert store.load_with_order(connection, device.device_id) == (inserted, made.order_envelope)
    record = service.find(device.device_id)
    assert record is not None
    done = service.complete(device.device_id, made.completion(device, record.pin.statement, record.pin.receipt))
    assert service.find(device.device_id) == done


def test_no_receipt_is_asked_for_before_the_commit(
    service: PinService, database: Database, made: World, signer: SoftwareReceiptSigner
) -> None:
    """Whoever signs finds the row already there, on a connection of its own."""
    device = Device()
    seen: list[tuple[bool, bool]] = []

    def look() -> None:
        with database.read() as connection:
            found = store.load(connection, device.device_id)
        seen.append((found is not None, found is not None and found.completion is not None))

    signer.before = look
    record = service.pin(device.device_id, made.pin(device), made.order_envelope)
    service.complete(device.device_id, made.completion(device, record.pin.statement, record.pin.receipt))
    assert seen == [(True, False), (True, True)]


def test_a_remembered_order_is_judged_anew_for_each_statement(service: PinService, made: World) -> None:
    """What is remembered is how the bytes read; root, environment and what it permits are asked each time."""
    device = Device()
    service.pin(device.device_id, made.pin(device), made.order_envelope)
    root = msgspec.structs.replace(made.trusted.root, version=2)
    other = TrustedRoot(root, roots.wrap(root).payload_sha256)
    elsewhere = made.pin(device, root_sha256=other.sha256)
    with pytest.raises(RefusedError, match="order was made under") as caught:
        checks.check_pin(other, device.device_id, elsewhere, made.order_envelope)
    assert caught.value.code is Code.WRONG_ROOT
    with pytest.raises(RefusedError) as caught:
        checks.check_pin(made.trusted, device.device_id, made.pin(device, product="kettle"), made.order_envelope)
    assert caught.value.code is Code.ORDER_REFUSES


def test_an_order_that_was_refused_is_refused_again_and_few_are_remembered(made: World) -> None:
    senseless = made.with_order(authority_key=made.order.cloud_key)
    for device in (Device(), Device()):
        statement = senseless.pin(device)
        with pytest.raises(RefusedError, match="authority key and cloud key") as caught:
            checks.check_pin(senseless.trusted, device.device_id, statement, senseless.order_envelope)
        assert caught.value.code is Code.ORDER_REFUSES
    for number in range(1, 40):
        checks.parsed_order(world().with_order(quantity=number).order_envelope)
    assert checks._parsed_order.cache_info().currsize <= 16
