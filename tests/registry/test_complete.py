"""The registry's promises about a completion: the pin turns active on the device's own signed words, once.

What of a broken completion is refused: tests/contract/test_judges.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from registry.tables import signature_r
from tests.registry.make import Device, SoftwareReceiptSigner, World, ec_key, rsa_key, signed, world
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Possession, Receipt, Verification, verify

pytestmark = pytest.mark.both_databases


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def pinned(service: PinService, made: World, device: Device) -> PinRecord:
    return service.pin(device.device_id, made.pin(device), made.order_envelope)


def completion(made: World, device: Device, pinned: PinRecord, **changes: Any) -> Envelope:
    return made.completion(device, pinned.pin.statement, pinned.pin.receipt, **changes)


def refused(service: PinService, device: Device, envelope: Envelope) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        service.complete(device.device_id, envelope)
    return caught.value


def test_a_completion_makes_the_pin_active(service: PinService, made: World, device: Device, pinned: PinRecord) -> None:
    envelope = completion(made, device, pinned)
    record = service.complete(device.device_id, envelope)
    assert record.state == "active" and record.completion is not None
    assert record.pin == pinned.pin
    receipt = verify(record.completion.receipt, Receipt, made.trusted.root.receipt_key)
    assert (receipt.subject, receipt.state, receipt.statement_sha256) == (
        "completion",
        "active",
        envelope.payload_sha256,
    )
    assert receipt.registered_at == record.completion.registered_at
    assert [state for state, _ in record.history] == ["provisional", "active"]
    assert service.find(device.device_id) == record
    assert service.pin(device.device_id, pinned.pin.statement, made.order_envelope) == record


def test_the_same_completion_again_gives_the_same_receipt_bytes(
    service: PinService, made: World, device: Device, pinned: PinRecord, signer: SoftwareReceiptSigner
) -> None:
    envelope = completion(made, device, pinned)
    assert service.complete(device.device_id, envelope) == service.complete(device.device_id, envelope)
    assert signer.signatures == 2


def test_crash_between_completion_and_receipt(
    service: PinService, made: World, device: Device, pinned: PinRecord, signer: SoftwareReceiptSigner
) -> None:
    envelope = completion(made, device, pinned)
    signer.fault = SignerUnavailableError("no answer on the socket")
    with pytest.raises(ReceiptUnavailableError):
        service.complete(device.device_id, envelope)
    signer.fault = None
    assert service.complete(device.device_id, envelope).state == "active"


def test_an_rsa_device_completes(database: Database) -> None:
    made = world(key_type="rsa-2048")
    service, device = PinService(database, made.trusted, made.signer()), Device(key=rsa_key())
    pinned = service.pin(device.device_id, made.pin(device), made.order_envelope)
    assert service.complete(device.device_id, completion(made, device, pinned)).state == "active"


def test_another_station_may_finish_what_one_began(
    service: PinService, made: World, device: Device, pinned: PinRecord
) -> None:
    assert service.complete(device.device_id, completion(made, device, pinned, station="station-02")).state == "active"


def test_no_completion_without_a_pin(service: PinService, made: World, pinned: PinRecord) -> None:
    stranger = Device()
    assert refused(service, stranger, completion(made, stranger, pinned)).code is Code.NOT_PINNED


def test_a_completion_for_another_pin(service: PinService, made: World, device: Device, pinned: PinRecord) -> None:
    other = made.pin(device)
    error = refused(service, device, made.completion(device, other, pinned.pin.receipt))
    assert error.code is Code.NOT_PINNED
    assert error.stored == pinned


def test_another_completion_of_a_completed_pin(
    service: PinService, made: World, device: Device, pinned: PinRecord
) -> None:
    record = service.complete(device.device_id, completion(made, device, pinned))
    error = refused(service, device, completion(made, device, pinned))
    assert error.code is Code.JOB_BYTES_DIFFER
    assert error.stored == record


def test_a_bench_may_say_emulated_where_the_device_does_not(
    service: PinService, made: World, device: Device, pinned: PinRecord
) -> None:
    report = made.report(device, emulated=0)
    assert service.complete(device.device_id, completion(made, device, pinned, report=report)).state == "active"


def test_who_signed_it(service: PinService, made: World, device: Device, pinned: PinRecord) -> None:
    done, station = (
        made.completion_statement(device, pinned.pin.statement, pinned.pin.receipt),
        made.stations["station-01"],
    )
    unknown = msgspec.structs.replace(done, station="station-99")
    wrong = [
        signed(done),
        signed(done, ec_key()),
        signed(done, station.pin),
        signed(done, made.stations["station-02"].completion),
        signed(done, station.completion, station.completion),
        signed(unknown, station.completion),
        pinned.pin.statement,
    ]
    assert [refused(service, device, each).code for each in wrong] == [Code.STATEMENT_INVALID] * len(wrong)


def test_one_nonce_for_two_messages_exposes_the_key(
    service: PinService, made: World, device: Device, pinned: PinRecord, rows: Callable[[str], int]
) -> None:
    """Stored under this device: exposed. Stored under another: random numbers repeat across the fleet."""
    other = Device()
    service.pin(other.device_id, made.pin(other), made.order_envelope)
    for owner, code in ((device, Code.PROOF_INVALID), (other, Code.KEY_ON_OTHER_DEVICE)):
        possession = device.possession("verify")
        r = nonce(possession)
        with service._database.write() as connection:
            connection.execute(insert(signature_r), {"r": r, "device_id": str(owner.device_id)})
        verification = Verification(cycle="reset", possession=possession, handshake="not-asked")
        assert refused(service, device, completion(made, device, pinned, verification=verification)).code is code
    assert rows("completions") == 0


def nonce(possession: Possession) -> bytes:
    first = possession.signatures[0]
    return first[4 : 4 + first[3]].lstrip(b"\x00").rjust(32, b"\x00")
