"""A batch on the whole way: the station's client with its token, HTTPS, a registry's process; single and many alike."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError, Sent
from station.cloud import batch as batches
from station.cloud.http import HttpCloud
from tests.registry.access import access_of
from tests.registry.make import Device
from tests.registry.running import Plant, running
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Receipt, verify


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


def test_pins_and_completions_by_the_batch_and_what_is_refused_of_them(plant: Plant) -> None:
    made = plant.made
    devices = [Device() for _ in range(30)]
    pins = [made.pin(each) for each in devices]
    foreign = Device()
    order = made.order_envelope

    async def act() -> None:
        cloud = HttpCloud(plant.url, plant.tls_root, access=access_of(made))
        sent = [Sent(d.device_id, pin, order) for d, pin in zip(devices, pins, strict=True)]
        sent.insert(7, Sent(foreign.device_id, made.pin(foreign, station="station-02"), order))
        sent.insert(20, Sent(devices[0].device_id, made.pin(Device(device_id=devices[0].device_id)), order))
        found = await cloud.batch(sent)
        theirs, clash = found[7], found[20]
        assert isinstance(theirs, CloudRefusedError) and theirs.code is Code.NOT_AUTHORISED
        assert isinstance(clash, CloudRefusedError) and clash.code is Code.DEVICE_HAS_OTHER_KEY
        assert clash.stored is not None and clash.stored.statement == pins[0]
        receipts = [each for each in found if isinstance(each, Envelope)]
        assert len(receipts) == len(devices)
        for device, receipt in zip(devices, receipts, strict=True):
            told = verify(receipt, Receipt, made.trusted.root.receipt_key)
            assert (told.device_id, told.state) == (str(device.device_id), "provisional")
        again = await cloud.pin(devices[3].device_id, pins[3], order)
        assert again.receipt == receipts[3], "by itself it gets the very same receipt"
        done = [
            Sent(d.device_id, made.completion(d, pin, receipt))
            for d, pin, receipt in zip(devices, pins, receipts, strict=True)
        ]
        active = await cloud.batch(done)
        assert await cloud.batch(done) == active
        held = await cloud.history(devices[5].device_id)
        assert held is not None and (held.state, held.completion_receipt) == ("active", active[5])
        await cloud.close()

    asyncio.run(act())


def test_a_batch_without_a_token_is_nobodys(plant: Plant) -> None:
    async def act() -> None:
        cloud = HttpCloud(plant.url, plant.tls_root)
        with pytest.raises(CloudRefusedError) as caught:
            await cloud.batch([Sent(Device().device_id, plant.made.pin(Device()), plant.made.order_envelope)])
        assert caught.value.code is Code.ACCESS_TOKEN_NEEDED
        await cloud.close()

    asyncio.run(act())


def refusal(_asked: str, status: int, answer: bytes) -> CloudRefusedError:
    return CloudRefusedError(Code.MALFORMED, f"{status} {answer.decode()}")


def test_an_answer_that_is_none_counts_for_nothing() -> None:
    sent = [Sent(Device().device_id, Envelope(b"{}", "x")) for _ in range(3)]
    good = Envelope(b"{}", "x").to_json()
    line = b'{"device_id":"x","status":200,"receipt":%s,"error":null}' % good
    for answer in (b"", line, b"\n".join([line] * 4)):
        with pytest.raises(CloudUnreachableError, match="results for 3 statements"):
            batches.results("asked", answer, sent, refusal)
    odd = [b"<html>", line.replace(b"200", b'"200"'), line.replace(good, b"null")]
    found = batches.results("asked", b"\n".join(odd), sent, refusal)
    assert all(isinstance(each, CloudUnreachableError) for each in found)
    told = line.replace(b"200", b"403").replace(b"null", b'{"code":"malformed"}')
    (found_one, *_) = batches.results("asked", b"\n".join([told, line, line]), sent, refusal)
    assert str(found_one) == '403 {"error":{"code":"malformed"}}'
