"""Pins and completions by the batch: a line is judged as a request by itself would be, and harms none beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Connection

from hsm.signer import SignerUnavailableError
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.leases.service import LeaseService
from registry.pins.batch import CompletionLine, PinBatch, PinLine, Settled
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from registry.routes.batch import MAX_LINES
from tests.registry.make import Device, SoftwareReceiptSigner, World, ec_key
from tests.registry.test_api import Api, error
from tests.registry.test_order_counts import few
from trust.dsse import Envelope
from trust.statement import Receipt, verify

pytestmark = pytest.mark.both_databases


@dataclass(frozen=True)
class Bench:
    """One registry with both ways in."""

    made: World
    service: PinService
    batch: PinBatch
    signer: SoftwareReceiptSigner

    def pins(self, *devices: Device, made: World | None = None) -> list[PinLine]:
        world = made or self.made
        return [PinLine(each.device_id, world.pin(each), world.order_envelope) for each in devices]


@pytest.fixture
def bench(service: PinService, database: Database, made: World, signer: SoftwareReceiptSigner) -> Bench:
    return Bench(made, service, PinBatch(database, made.trusted, signer, service), signer)


def codes(found: list[Settled]) -> list[str]:
    return [_code(each) for each in found]


def _code(settled: Settled) -> str:
    match settled:
        case PinRecord():
            return settled.state
        case RefusedError():
            return settled.code.value
        case ReceiptUnavailableError():
            return "no receipt"


def test_many_are_pinned_and_completed_with_receipts_that_hold(bench: Bench, rows: Callable[[str], int]) -> None:
    devices = [Device() for _ in range(7)]
    lines = bench.pins(*devices)
    pinned = bench.batch.settle(lines)
    assert codes(pinned) == ["provisional"] * 7
    done = [
        CompletionLine(device.device_id, bench.made.completion(device, line.statement, record.pin.receipt))
        for device, line, record in zip(devices, lines, pinned, strict=True)
        if isinstance(record, PinRecord)
    ]
    completed = bench.batch.settle(done)
    assert codes(completed) == ["active"] * 7
    for device, record in zip(devices, completed, strict=True):
        assert bench.service.find(device.device_id) == record
        assert isinstance(record, PinRecord) and record.completion is not None
        receipt = verify(record.completion.receipt, Receipt, bench.made.trusted.root.receipt_key)
        assert (receipt.device_id, receipt.state) == (str(device.device_id), "active")
    assert (rows("pins"), rows("completions"), rows("receipts"), rows("orders")) == (7, 7, 14, 1)


def test_the_same_batch_again_is_answered_with_the_same_receipts(bench: Bench) -> None:
    devices = [Device() for _ in range(5)]
    lines = bench.pins(*devices)
    first = bench.batch.settle(lines[:3])
    again = bench.batch.settle([*lines, lines[4]])  # the last one twice in one batch
    assert again[:3] == first and again[5] == again[4]
    assert codes(again) == ["provisional"] * 6
    done = [
        CompletionLine(device.device_id, bench.made.completion(device, line.statement, record.pin.receipt))
        for device, line, record in zip(devices, lines, again[:5], strict=True)
        if isinstance(record, PinRecord)
    ]
    assert bench.batch.settle(done) == bench.batch.settle([*done])
    assert bench.signer.signatures == 10


def bad_lines(bench: Bench, stored: Device) -> dict[str, list[PinLine]]:
    made, other = bench.made, Device(key=stored.key)
    return {
        "device-has-other-key": bench.pins(Device(device_id=stored.device_id)),
        "key-on-other-device": bench.pins(other),
        "job-bytes-differ": bench.pins(Device(job=stored.job)),
        "order-refuses": [PinLine(other.device_id, made.pin(other, product="kettle"), made.order_envelope)],
        "statement-invalid": [replace(bench.pins(Device())[0], device=Device().device_id)],
        "key-weak": [],
    }


@pytest.mark.parametrize("place", [0, 3, 6])
@pytest.mark.parametrize(
    "code", ["device-has-other-key", "key-on-other-device", "job-bytes-differ", "order-refuses", "statement-invalid"]
)
def test_a_bad_line_harms_none_beside_it(bench: Bench, code: str, place: int, rows: Callable[[str], int]) -> None:
    stored = Device()
    assert codes(bench.batch.settle(bench.pins(stored))) == ["provisional"]
    good = bench.pins(*[Device() for _ in range(6)])
    (bad,) = bad_lines(bench, stored)[code]
    found = bench.batch.settle([*good[:place], bad, *good[place:]])
    assert codes(found) == ["provisional"] * place + [code] + ["provisional"] * (6 - place)
    assert rows("pins") == 7
    refusal = found[place]
    assert isinstance(refusal, RefusedError)
    assert (refusal.stored is None) == (code in {"order-refuses", "statement-invalid"}), "a clash shows its proof"


def test_a_line_gets_what_it_would_get_by_itself(bench: Bench) -> None:
    stored = Device()
    bench.batch.settle(bench.pins(stored))
    for code, lines in bad_lines(bench, stored).items():
        for line in lines:
            assert isinstance(line.order, Envelope)
            with pytest.raises(RefusedError) as caught:
                bench.service.pin(line.device, line.statement, line.order)
            (settled,) = bench.batch.settle([line])
            assert isinstance(settled, RefusedError)
            assert (settled.code.value, str(settled)) == (code, str(caught.value))


def test_two_devices_with_one_key_in_one_batch(bench: Bench) -> None:
    key = ec_key()
    assert Counter(codes(bench.batch.settle(bench.pins(Device(key=key), Device(), Device(key=key))))) == {
        "provisional": 2,
        "key-on-other-device": 1,
    }


def test_as_many_as_the_order_has_left_are_taken_and_the_rest_is_told_so(
    bench: Bench, rows: Callable[[str], int]
) -> None:
    limited = few(bench.made, station_01=(3, 1))
    found = bench.batch.settle(bench.pins(*[Device() for _ in range(9)], made=limited))
    assert Counter(codes(found)) == {"provisional": 4, "order-exhausted": 5}
    assert rows("pins") == rows("receipts") == 4


def test_control_without_savepoints_what_was_refused_would_stay(
    bench: Bench, rows: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = few(bench.made, station_01=(3, 1))
    monkeypatch.setattr(Connection, "begin_nested", lambda _: nullcontext())
    found = bench.batch.settle(bench.pins(*[Device() for _ in range(9)], made=limited))
    assert Counter(codes(found)) == {"provisional": 4, "order-exhausted": 5}
    assert rows("pins") == 9, "refused, and stored all the same"


def test_completions_beyond_the_quantity(bench: Bench) -> None:
    limited = few(bench.made, station_01=(2, 2))
    devices = [Device() for _ in range(4)]
    lines = bench.pins(*devices, made=limited)
    done = []
    for device, line, record in zip(devices, lines, bench.batch.settle(lines), strict=True):
        assert isinstance(record, PinRecord)
        done.append(CompletionLine(device.device_id, limited.completion(device, line.statement, record.pin.receipt)))
    assert Counter(codes(bench.batch.settle(done))) == {"active": 2, "order-exhausted": 2}


def test_without_a_signer_what_is_stored_is_told_and_the_same_batch_gets_its_receipts(bench: Bench) -> None:
    lines = bench.pins(Device(), Device())
    bench.signer.fault = SignerUnavailableError("planted")
    assert codes(bench.batch.settle(lines)) == ["no receipt"] * 2
    bench.signer.fault = None
    assert codes(bench.batch.settle(lines)) == ["provisional"] * 2


def test_a_completion_of_nothing_and_one_of_another_pin(bench: Bench) -> None:
    device, stranger = Device(), Device()
    (line,) = bench.pins(device)
    (record,) = bench.batch.settle([line])
    assert isinstance(record, PinRecord)
    other = bench.made.pin(device)
    found = bench.batch.settle(
        [
            CompletionLine(stranger.device_id, bench.made.completion(stranger, line.statement, record.pin.receipt)),
            CompletionLine(device.device_id, bench.made.completion(device, other, record.pin.receipt)),
            CompletionLine(device.device_id, bench.made.completion(device, line.statement, record.pin.receipt)),
        ]
    )
    assert codes(found) == ["not-pinned", "not-pinned", "active"]


def test_an_order_may_be_named_once_it_is_known(bench: Bench) -> None:
    first, second, third = bench.pins(Device(), Device(), Device())
    by_name = [replace(each, order=bench.made.order_envelope.payload_sha256) for each in (first, second, third)]
    assert codes(bench.batch.settle(by_name[:1])) == ["order-unknown"]
    assert codes(bench.batch.settle([by_name[0], second])) == ["provisional"] * 2, "another line brings it"
    assert codes(bench.batch.settle(by_name[2:])) == ["provisional"]


def test_many_batches_at_once_store_each_device_once(bench: Bench, rows: Callable[[str], int]) -> None:
    lines = bench.pins(*[Device() for _ in range(24)])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: codes(bench.batch.settle(lines[turn:] + lines[:turn])), range(0, 24, 3)))
    assert found == [["provisional"] * 24] * 8
    assert (rows("pins"), rows("receipts")) == (24, 24)


# ---- over HTTP


@pytest.fixture
def api(bench: Bench, database: Database) -> Api:
    leases = LeaseService(database, bench.made.trusted, bench.signer)
    return Api.make(bench.service, leases, database, bench.made, bench.batch)


def pin_line(made: World, device: Device, order: bytes | None = None) -> bytes:
    order = made.order_envelope.to_json() if order is None else order
    return b'{"device_id":"%s","statement":%s,"order":%s}' % (
        str(device.device_id).encode(), made.pin(device).to_json(), order,
    )  # fmt: skip


def send(api: Api, *lines: bytes) -> list[dict[str, Any]]:
    answer = api.ask("POST", "/v1/pins:batch", b"\n".join(lines))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(each) for each in answer.content.splitlines()]


def test_lines_are_answered_in_their_order_whatever_is_wrong_with_some(api: Api, made: World) -> None:
    device, by_name, bad = Device(), Device(), Device()
    name = b'"%s"' % made.order_envelope.payload_sha256.encode()
    lines = [
        b"not JSON",
        pin_line(made, device),
        b'{"device_id":"01","completion":{}}',
        pin_line(made, by_name, name),
        pin_line(made, Device(), b'"abc"'),
        b'{"device_id":"%s"}' % str(bad.device_id).encode(),
        pin_line(made, bad)[:-1] + b',"more":1}',
        b'{"device_id":"%s","device_id":"%s","completion":{}}' % ((str(bad.device_id).encode(),) * 2),
        b"[" * 70_000,
        b" " * 10,
    ]
    found = send(api, *lines)
    assert [(each["status"], each["error"] and each["error"]["code"]) for each in found] == [
        (400, "malformed"), (200, None), (400, "malformed"), (200, None), (400, "malformed"), (400, "malformed"),
        (400, "malformed"), (400, "malformed"), (413, "too-large"),
    ]  # fmt: skip
    assert [each["device_id"] for each in found[:4]] == ["", str(device.device_id), "", str(by_name.device_id)]
    receipt = Envelope.from_json(json.dumps(found[1]["receipt"], separators=(",", ":")).encode())
    assert verify(receipt, Receipt, made.trusted.root.receipt_key).device_id == str(device.device_id)


def test_a_batch_is_not_empty_nor_too_long(api: Api) -> None:
    assert error(api.ask("POST", "/v1/pins:batch", b"\n \n")) == (400, "malformed")
    assert error(api.ask("POST", "/v1/pins:batch", b"x\n" * (MAX_LINES + 1))) == (413, "too-large")
    assert error(api.ask("POST", "/v1/pins:batch", b"x" * 5_000_000)) == (413, "too-large")
    assert len(send(api, *[b"x"] * MAX_LINES)) == MAX_LINES
