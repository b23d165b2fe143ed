"""Which rows a leaf implies: the first statement of a job that is about a key and nonces has them indexed, whoever made it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from station.jobs import DuplicateKeyError, RecordKind
from station.jobs.leaf import parse_leaf
from station.jobs.projection import Known, Recorded, rows
from station.jobs.tables import KeyRow, OutboxRow, RecordRow, SignatureRRow
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from trust.signed import nonces, signed_in
from trust.statement import Completion, PinStatement, read


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def implied(unit: kit.Papers, kind: RecordKind, *on_record: RecordKind, adopted: bool = False) -> list[type]:
    """The tables of the rows, each as often as it gets one."""
    device = unit.device
    known = Known(
        station=kit.STATION, job_id=str(device.job), device_id=str(device.device_id), order_id="order-7", adopted=adopted,
        records={each: Recorded(1, unit.steps[each].payload_sha256) for each in on_record},
    )  # fmt: skip
    return [each.table for each in rows(parse_leaf(unit.steps[kind]), 9, known)]


KEYED, COMPLETED = [KeyRow, SignatureRRow, SignatureRRow], [SignatureRRow] * 3


def test_key_and_nonces_of_what_is_made_here_are_indexed_once(made: World) -> None:
    unit = kit.papers(made, Device())
    assert implied(unit, RecordKind.INTENT) == [RecordRow, *KEYED]
    assert implied(unit, RecordKind.PIN, RecordKind.INTENT) == [RecordRow, OutboxRow]
    before = (RecordKind.INTENT, RecordKind.PIN, RecordKind.PIN_RECEIPT)
    assert implied(unit, RecordKind.COMPLETION_INTENT, *before) == [RecordRow, *COMPLETED]
    done = implied(unit, RecordKind.COMPLETION, *before, RecordKind.COMPLETION_INTENT)
    assert done == [RecordRow, OutboxRow]


def test_key_and_nonces_of_what_another_station_made_are_indexed_too(made: World) -> None:
    unit = kit.papers(made, Device(), station="station-02")
    assert implied(unit, RecordKind.PIN, adopted=True) == [RecordRow, *KEYED, OutboxRow]
    before = (RecordKind.PIN, RecordKind.PIN_RECEIPT)
    assert implied(unit, RecordKind.COMPLETION, *before, adopted=True) == [RecordRow, *COMPLETED, OutboxRow]


async def adopt(store, made: World, device: Device, last: RecordKind) -> None:
    """A unit of the other station, as far as it got there."""
    await kit.opened(store, device.device_id, made.order.order_id, device.job)
    unit = kit.papers(made, device, station="station-02")
    pin, receipt = unit.steps[RecordKind.PIN], unit.steps[RecordKind.PIN_RECEIPT]
    there = made.completion(device, pin, receipt, station="station-02")
    steps = {RecordKind.PIN: pin, RecordKind.PIN_RECEIPT: receipt, RecordKind.COMPLETION: there}
    for kind, statement in steps.items():
        await store.record(device.job, kind, statement)
        if kind is last:
            break


@pytest.mark.parametrize(
    "repeated", ["its key", "a nonce of its pin statement", "a nonce of its completion", "nothing"]
)
def test_what_another_stations_unit_used_is_not_taken_again_here(tmp_path: Path, made: World, repeated: str) -> None:
    async def story() -> None:
        store = kit.store_at(tmp_path / "station.db", made)
        await store.keep_order(made.order_envelope)
        theirs = Device()
        await adopt(store, made, theirs, RecordKind.COMPLETION)
        (known,) = await store.of_device(theirs.device_id)
        mine = await kit.open_as(store, made, Device(theirs.key) if repeated == "its key" else Device())
        pin = made.pin_statement(mine)
        taken = {
            "a nonce of its pin statement": read(known.records[RecordKind.PIN], PinStatement),
            "a nonce of its completion": read(known.records[RecordKind.COMPLETION], Completion),
        }.get(repeated)
        if taken is not None:
            signatures = [each.signature for each in signed_in(taken)]
            assert len(nonces(signed_in(taken))) == len(signatures)
            possession = type(pin.possession)(
                challenge=pin.possession.challenge,
                context="pin",
                signatures=(signatures[0], pin.possession.signatures[1]),
            )
            intent = kit.unsigned(made.pin(mine, possession=possession))
        else:
            intent = kit.unsigned(made.pin(mine))
        try:
            if repeated == "nothing":
                await store.record(mine.job, RecordKind.INTENT, intent)
            else:
                with pytest.raises(DuplicateKeyError):
                    await store.record(mine.job, RecordKind.INTENT, intent)
        finally:
            await store.close()

    asyncio.run(story())
