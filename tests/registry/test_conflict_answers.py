"""What a refusal shows of what is held (docs/statements.md §9): the record that stands against the statement.

A station takes a refusal for good only with the record that proves it, so all of it must be there and hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import pytest

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.leases.service import LeaseService
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from tests.registry.access import station_of
from tests.registry.make import Device, SoftwareReceiptSigner, World
from tests.registry.test_api import Api, error
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Receipt, verify

pytestmark = pytest.mark.both_databases

RAW = dict[str, msgspec.Raw]


@pytest.fixture
def api(service: PinService, database: Database, made: World, signer: SoftwareReceiptSigner) -> Api:
    return Api.make(service, LeaseService(database, made.trusted, signer), database, made)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def pinned(service: PinService, made: World, device: Device) -> PinRecord:
    return service.pin(device.device_id, made.pin(device), made.order_envelope)


def stored(response: httpx2.Response) -> RAW | None:
    """The `stored` of a refusal, its parts as the bytes that came."""
    detail = msgspec.json.decode(response.content, type=dict[str, RAW])["error"]["stored"]
    return None if bytes(detail) == b"null" else msgspec.json.decode(detail, type=RAW)


def shows(found: RAW | None, record: PinRecord, made: World) -> bool:
    """The whole record, byte for byte, and a receipt that verifies and is for this very statement."""
    done = record.completion
    wanted: dict[str, Any] = {
        "state": record.state,
        "statement": msgspec.Raw(record.pin.statement.to_json()),
        "receipt": msgspec.Raw(record.pin.receipt.to_json()),
        "completion": done and msgspec.Raw(done.statement.to_json()),
        "completion_receipt": done and msgspec.Raw(done.receipt.to_json()),
        "repin": None,
        "repin_receipt": None,
    }
    if found is None or {name: bytes(each) for name, each in found.items()} != {
        name: msgspec.json.encode(each) for name, each in wanted.items()
    }:
        return False
    statement = Envelope.from_json(bytes(found["statement"]))
    receipt = verify(Envelope.from_json(bytes(found["receipt"])), Receipt, made.trusted.root.receipt_key)
    verify(statement, PinStatement, made.trusted.root.pin_key("station-01"))
    return receipt.statement_sha256 == statement.payload_sha256


OWN: dict[str, Callable[[Device], Device]] = {
    "pinned-under-other-job": lambda device: Device(key=device.key, device_id=device.device_id),
    "device-has-other-key": lambda device: Device(device_id=device.device_id),
}


@pytest.mark.parametrize("code", OWN)
def test_what_is_held_about_this_device_comes_with_the_409(
    code: str, api: Api, made: World, device: Device, pinned: PinRecord
) -> None:
    rival = OWN[code](device)
    other = replace(api, station=station_of(made, "station-02"))
    response = other.put_pin(rival, made.pin(rival, station="station-02"), made.order_envelope)
    assert error(response) == (409, code)
    assert shows(stored(response), pinned, made)


def test_a_completed_pin_comes_whole(
    api: Api, made: World, service: PinService, device: Device, pinned: PinRecord
) -> None:
    done = service.complete(device.device_id, made.completion(device, pinned.pin.statement, pinned.pin.receipt))
    rival = OWN["pinned-under-other-job"](device)
    response = api.put_pin(rival, made.pin(rival), made.order_envelope)
    assert error(response) == (409, "pinned-under-other-job")
    found = stored(response)
    assert shows(found, done, made) and not shows(found, pinned, made)
    assert found is not None
    verify(Envelope.from_json(bytes(found["completion"])), Completion, made.trusted.root.completion_key("station-01"))


def test_another_devices_record_is_shown_where_it_is_the_reason(
    api: Api, made: World, device: Device, pinned: PinRecord
) -> None:
    """`key-on-other-device`, and a job of another device: a station believes the refusal by this record alone."""
    for rival, wanted in (
        (Device(key=device.key), (409, "key-on-other-device")),
        (Device(job=device.job), (422, "job-bytes-differ")),
    ):
        response = api.put_pin(rival, made.pin(rival), made.order_envelope)
        assert error(response) == wanted
        assert shows(stored(response), pinned, made)


def test_no_409_without_the_receipt_that_it_must_carry(
    api: Api, made: World, device: Device, signer: SoftwareReceiptSigner
) -> None:
    """The receipt was never signed and cannot be now: 503, ask again; with the signer back the 409 is whole."""
    signer.fault = SignerUnavailableError("no answer")
    assert error(api.put_pin(device, made.pin(device), made.order_envelope)) == (503, "token-unavailable")
    rival = OWN["pinned-under-other-job"](device)
    body = made.pin(rival)
    assert error(api.put_pin(rival, body, made.order_envelope)) == (503, "token-unavailable")
    signer.fault = None
    response = api.put_pin(rival, body, made.order_envelope)
    assert error(response) == (409, "pinned-under-other-job")
    held = api.service.find(device.device_id)
    assert held is not None and shows(stored(response), held, made)


@pytest.mark.parametrize("part", ["receipt", "statement"])
def test_control_a_part_that_is_missing_or_anothers_is_seen(
    part: str, api: Api, made: World, service: PinService, device: Device, pinned: PinRecord
) -> None:
    rival = OWN["pinned-under-other-job"](device)
    found = stored(api.put_pin(rival, made.pin(rival), made.order_envelope))
    assert found is not None
    other = Device()
    record = service.pin(other.device_id, made.pin(other), made.order_envelope)
    anothers = getattr(record.pin, part).to_json()
    assert not shows({**found, part: msgspec.Raw(b"null")}, pinned, made)
    assert not shows({**found, part: msgspec.Raw(anothers)}, pinned, made)
    assert not shows(None, pinned, made)
