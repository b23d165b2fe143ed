"""The registry's promises about a pin, asked of PinService over a real SQLite file.

What of a broken pin statement is refused: tests/contract/test_judges.py.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import insert

from hsm.signer import SignerError, SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins.service import PinService
from registry.tables import signature_r
from tests.registry.make import Device, SoftwareReceiptSigner, World, ec_key, public, rsa_key, signed, world
from trust import statement as statements
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.order import Allotment, Firmware
from trust.statement import Possession, Receipt, verify

pytestmark = pytest.mark.both_databases


def refused(
    service: PinService, made: World, device: Device, envelope: Envelope, order: Envelope | None = None
) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        service.pin(device.device_id, envelope, order or made.order_envelope)
    return caught.value


def test_a_pin_is_provisional_and_its_receipt_holds(service: PinService, made: World) -> None:
    device = Device()
    statement = made.pin(device)
    record = service.pin(device.device_id, statement, made.order_envelope)
    receipt = verify(record.pin.receipt, Receipt, made.trusted.root.receipt_key)
    assert record.state == "provisional" and record.completion is None
    assert record.pin.statement == statement
    assert receipt == Receipt(
        environment="demo", root_sha256=made.trusted.sha256, registry="registry-01", subject="pin",
        statement_sha256=statement.payload_sha256, order_id="order-7", job=str(device.job), device_id=str(device.device_id),
        fingerprint=public(device.key).fingerprint, state="provisional", registered_at=record.pin.registered_at,
    )  # fmt: skip


def test_the_same_statement_again_gives_the_same_receipt_bytes(
    service: PinService, made: World, signer: SoftwareReceiptSigner
) -> None:
    device = Device()
    statement = made.pin(device)
    first = service.pin(device.device_id, statement, made.order_envelope)
    again = service.pin(device.device_id, statement, made.order_envelope)
    assert again.pin.receipt.to_json() == first.pin.receipt.to_json()
    assert service.find(device.device_id) == first
    assert signer.signatures == 1


def test_the_same_payload_signed_anew_is_the_same_statement(service: PinService, made: World) -> None:
    device = Device()
    pin = made.pin_statement(device)
    key = made.stations["station-01"].pin
    first = service.pin(device.device_id, signed(pin, key), made.order_envelope)
    again = service.pin(device.device_id, signed(pin, key), made.order_envelope)
    assert again == first


def test_an_rsa_device_is_pinned_by_modulus(database: Database) -> None:
    made = world(key_type="rsa-2048")
    service = PinService(database, made.trusted, made.signer())
    device = Device(key=rsa_key())
    service.pin(device.device_id, made.pin(device), made.order_envelope)
    with database.read() as connection:
        modulus, nonces = connection.exec_driver_sql(
            "SELECT modulus, (SELECT count(*) FROM signature_r) FROM pins"
        ).one()
    assert int.from_bytes(modulus) == rsa_key().public_key().public_numbers().n
    assert nonces == 0
    twin = Device(key=rsa_key())
    assert refused(service, made, twin, made.pin(twin)).code is Code.KEY_ON_OTHER_DEVICE


def test_crash_between_insert_and_receipt_gives_the_receipt_that_was_due(
    service: PinService, made: World, signer: SoftwareReceiptSigner, rows: Callable[[str], int]
) -> None:
    device = Device()
    statement = made.pin(device)
    signer.fault = SignerUnavailableError("no answer on the socket")
    with pytest.raises(ReceiptUnavailableError, match="send the same request again"):
        service.pin(device.device_id, statement, made.order_envelope)
    assert (rows("pins"), rows("receipts")) == (1, 0)
    with pytest.raises(ReceiptUnavailableError):
        service.find(device.device_id)
    signer.fault = None
    record = service.pin(device.device_id, statement, made.order_envelope)
    receipt = verify(record.pin.receipt, Receipt, made.trusted.root.receipt_key)
    with service._database.read() as connection:
        assert receipt.registered_at == connection.exec_driver_sql("SELECT registered_at FROM pins").scalar_one()
    assert service.find(device.device_id) == record


def test_a_receipt_that_another_thread_stored_first_is_the_answer(
    service: PinService, made: World, signer: SoftwareReceiptSigner, rows: Callable[[str], int]
) -> None:
    device = Device()
    statement = made.pin(device)
    rival = PinService(service._database, made.trusted, made.signer())
    faster: list[bytes] = []

    def overtake() -> None:
        signer.before = lambda: None
        found = rival.find(device.device_id)
        assert found is not None
        faster.append(found.pin.receipt.to_json())

    signer.before = overtake
    record = service.pin(device.device_id, statement, made.order_envelope)
    assert [record.pin.receipt.to_json()] == faster
    assert rows("receipts") == 1


def test_a_signer_that_refuses_or_lies_is_no_receipt(
    service: PinService, made: World, signer: SoftwareReceiptSigner, rows: Callable[[str], int]
) -> None:
    device = Device()
    statement = made.pin(device)
    signer.fault = SignerError(Code.TOKEN_PIN_WRONG, "user PIN refused")
    with pytest.raises(ReceiptUnavailableError, match="user PIN refused"):
        service.pin(device.device_id, statement, made.order_envelope)
    stranger = PinService(service._database, made.trusted, SoftwareReceiptSigner(made.trusted, ec_key()))
    with pytest.raises(ReceiptUnavailableError, match="not signed by key"):
        stranger.pin(device.device_id, statement, made.order_envelope)
    assert rows("receipts") == 0


def test_another_key_for_a_pinned_device(service: PinService, made: World) -> None:
    device = Device()
    record = service.pin(device.device_id, made.pin(device), made.order_envelope)
    for job in (device.job, JobId.new()):
        other = Device(device_id=device.device_id, job=job)
        error = refused(service, made, other, made.pin(other))
        assert error.code is Code.DEVICE_HAS_OTHER_KEY
        assert error.stored == record


def test_a_key_on_another_device(service: PinService, made: World) -> None:
    device = Device()
    service.pin(device.device_id, made.pin(device), made.order_envelope)
    twin = Device(key=device.key)
    error = refused(service, made, twin, made.pin(twin))
    assert error.code is Code.KEY_ON_OTHER_DEVICE
    assert error.stored is not None and error.stored.device == device.device_id, "the refusal shows its proof"
    assert str(device.device_id) in str(error)


def test_the_graver_finding_speaks_when_a_pinned_device_shows_another_devices_key(
    service: PinService, made: World
) -> None:
    first, second = Device(), Device()
    for each in (first, second):
        service.pin(each.device_id, made.pin(each), made.order_envelope)
    mixed = Device(key=first.key, device_id=second.device_id, job=second.job)
    assert refused(service, made, mixed, made.pin(mixed)).code is Code.KEY_ON_OTHER_DEVICE


def test_a_job_is_one_devices(service: PinService, made: World, rows: Callable[[str], int]) -> None:
    device = Device()
    service.pin(device.device_id, made.pin(device), made.order_envelope)
    other = Device(job=device.job)
    assert refused(service, made, other, made.pin(other)).code is Code.JOB_BYTES_DIFFER
    assert rows("pins") == 1


def test_the_same_job_with_other_bytes(service: PinService, made: World) -> None:
    device = Device()
    record = service.pin(device.device_id, made.pin(device), made.order_envelope)
    error = refused(service, made, device, made.pin(device, made_at="2026-11-22T20:00:01Z"))
    assert error.code is Code.JOB_BYTES_DIFFER
    assert error.stored == record


def test_the_same_device_and_key_under_another_job_gets_the_stored_statement(service: PinService, made: World) -> None:
    device = Device()
    record = service.pin(device.device_id, made.pin(device), made.order_envelope)
    elsewhere = Device(key=device.key, device_id=device.device_id)
    error = refused(service, made, elsewhere, made.pin(elsewhere, station="station-02"))
    assert error.code is Code.PINNED_UNDER_OTHER_JOB
    assert error.stored == record


def test_an_ecdsa_nonce_seen_on_another_device(service: PinService, made: World, rows: Callable[[str], int]) -> None:
    """A device whose proof has an r that is stored already: its random numbers repeat another's."""
    device, other = Device(), Device()
    envelope = made.pin(device)
    service.pin(other.device_id, made.pin(other), made.order_envelope)
    signature = statements.read(envelope, statements.PinStatement).possession.signatures[0]
    with service._database.write() as connection:
        connection.execute(insert(signature_r), {"r": r_of(signature), "device_id": str(other.device_id)})
    error = refused(service, made, device, envelope)
    assert error.code is Code.KEY_ON_OTHER_DEVICE
    assert "random numbers repeat" in str(error)
    assert rows("pins") == 1


def r_of(signature: bytes) -> bytes:
    """The r of SEQUENCE { INTEGER r, INTEGER s }, read by hand."""
    return signature[4 : 4 + signature[3]].lstrip(b"\x00").rjust(32, b"\x00")


def test_deterministic_signatures_of_one_device_are_no_repeated_nonce(service: PinService, made: World) -> None:
    device = Device()
    possession = device.possession("pin")
    twice = Possession(challenge=possession.challenge, context="pin", signatures=(possession.signatures[0],) * 2)
    assert service.pin(device.device_id, made.pin(device, possession=twice), made.order_envelope).state == "provisional"


def test_who_signed_it(service: PinService, made: World) -> None:
    device = Device()
    pin, station = made.pin_statement(device), made.stations["station-01"]
    wrong = {
        "nobody": signed(pin),
        "a stranger": signed(pin, ec_key()),
        "the completion key": signed(pin, station.completion),
        "another station": signed(pin, made.stations["station-02"].pin),
        "two keys": signed(pin, station.pin, ec_key()),
        "unknown station": signed(made.pin_statement(device, station="station-99"), station.pin),
        "other bytes": msgspec.structs.replace(signed(pin, station.pin), payload=statements.encode(made.pin_statement(device))),
        "other kind": signed(Receipt(
            environment="demo", root_sha256=made.trusted.sha256, registry="registry-01", subject="pin", statement_sha256="00" * 32,
            order_id="order-7", job=str(device.job), device_id=str(device.device_id), fingerprint="00" * 32, state="active",
            registered_at="2026-11-22T20:00:00Z"), station.pin),
    }  # fmt: skip
    found = {name: refused(service, made, device, envelope).code for name, envelope in wrong.items()}
    assert found == dict.fromkeys(wrong, Code.STATEMENT_INVALID)


def test_orders_that_are_not_taken(service: PinService, made: World) -> None:
    device = Device()
    cases = {
        "other environment": (made.with_order(environment="plant-1"), Code.WRONG_ENVIRONMENT),
        "other root": (made.with_order(root_sha256="11" * 32), Code.WRONG_ROOT),
        "does not make sense": (made.with_order(authority_key=made.order.cloud_key), Code.ORDER_REFUSES),
        "quantity 0": (made.with_order(quantity=0), Code.ORDER_REFUSES),
        "no station": (made.with_order(stations={}), Code.ORDER_REFUSES),
        "more allotted than there is": (
            made.with_order(stations={"station-01": Allotment(quantity=made.order.quantity + 1)}),
            Code.ORDER_REFUSES,
        ),
        "window of no time": (made.with_order(not_before="2026-13-01T00:00:00Z"), Code.ORDER_REFUSES),
        "other station": (made.with_order(stations=("station-02",)), Code.ORDER_REFUSES),
        "other firmware": (made.with_order(firmware=(Firmware(sha256="aa" * 32),)), Code.ORDER_REFUSES),
        "other key type": (made.with_order(key_type="rsa-2048"), Code.ORDER_REFUSES),
    }
    found = {name: refused(service, each, device, each.pin(device)).code for name, (each, _) in cases.items()}
    assert found == {name: code for name, (_, code) in cases.items()}
    signed_order = signed(made.order, ec_key())
    assert refused(service, made, device, made.pin(device), signed_order).code is Code.ORDER_NOT_APPROVED
    assert refused(service, made, device, made.pin(device, order_signed=True)).code is Code.ORDER_REFUSES
    assert refused(service, made, device, made.pin(device), made.pin(device)).code is Code.STATEMENT_INVALID


def test_the_path_names_the_device(service: PinService, made: World) -> None:
    device = Device()
    with pytest.raises(RefusedError, match="path names device"):
        service.pin(DeviceId(b"\x01" * 12), made.pin(device), made.order_envelope)


def test_a_refused_pin_leaves_nothing(service: PinService, made: World, rows: Callable[[str], int]) -> None:
    """All that a pin writes is one transaction: a refused one keeps neither order nor nonces."""
    device = Device()
    service.pin(device.device_id, made.pin(device), made.order_envelope)
    before = [rows(table) for table in ("pins", "orders", "signature_r")]
    other_order = made.with_order(quantity=5)
    twin = Device(key=device.key)
    refused(service, other_order, twin, other_order.pin(twin))
    assert [rows(table) for table in ("pins", "orders", "signature_r")] == before == [1, 1, 2]
