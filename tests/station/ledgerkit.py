"""A station's ledger for tests: a store over a real file, units brought to any state with real signatures, a log signer."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Coroutine
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from station.jobs import Job, RecordKind
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.registry.make import MADE_AT, Device, World, public, rsa_key, signed
from tests.station import paperkit
from tests.station.paperkit import STATION
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.signed_note import Head, NoteKey, assemble, checkpoint_text, sign_line
from trust.statement import Completion, Event, PinStatement, Receipt, envelope, read

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def stamp(world: World) -> Stamp:
    return Stamp(station=STATION, environment="demo", root_sha256=world.trusted.sha256)


@cache
def empty_database() -> bytes:
    """A database as the migrations make it: migrated once a test process, copied for each test."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "empty.db"
        open_database(path, create=True).dispose()
        return path.read_bytes()


def store_at(path: Path, world: World) -> JobStore:
    if not path.exists():
        path.write_bytes(empty_database())
    return JobStore(open_database(path), stamp(world))


def unsigned(statement: Envelope) -> Envelope:
    return msgspec.structs.replace(statement, signatures=())


def receipt_for(world: World, statement: Envelope, **changes: Any) -> Envelope:
    """The registry's receipt for a pin statement or completion."""
    pin = statement.payload_type == PinStatement.PAYLOAD_TYPE
    about = read(statement, PinStatement) if pin else read(statement, Completion)
    made = Receipt(
        environment="demo", root_sha256=world.trusted.sha256, registry=world.trusted.root.registry,
        subject="pin" if pin else "completion", statement_sha256=statement.payload_sha256, order_id=about.order_id,
        job=about.job, device_id=about.device_id, fingerprint=about.fingerprint, state="provisional" if pin else "active",
        registered_at=MADE_AT,
    )  # fmt: skip
    return signed(msgspec.structs.replace(made, **changes), world.receipt_key)


def refusal(world: World, job: Job, kind: RecordKind = RecordKind.PIN_REFUSED) -> Envelope:
    return envelope(stamp(world).event(kind.value, job, details={"code": "device-has-other-key"}))


def happened(world: World, kind: str, job: Job, attempt: int, **details: str) -> Event:
    return msgspec.structs.replace(stamp(world).event(kind, job, details=details), attempt=attempt)


@dataclass(frozen=True, slots=True)
class Papers:
    """All statements of one unit, in the order in which they go on record."""

    device: Device
    steps: dict[RecordKind, Envelope]


def papers(world: World, device: Device, station: str = STATION) -> Papers:
    pin = world.pin(device, station=station)
    receipt = receipt_for(world, pin)
    completion = world.completion(device, pin, receipt)
    steps = {
        RecordKind.INTENT: unsigned(pin),
        RecordKind.PIN: pin,
        RecordKind.PIN_RECEIPT: receipt,
        RecordKind.COMPLETION_INTENT: unsigned(completion),
        RecordKind.COMPLETION: completion,
        RecordKind.COMPLETION_RECEIPT: receipt_for(world, completion),
    }
    return Papers(device, steps)


async def opened(store: JobStore, device: DeviceId, order_id: str, adopt: JobId | None = None) -> Job:
    """The device's job, after one more attempt."""
    return (await store.begin(device, order_id, slot="1", adopt=adopt)).job


async def job_of(store: JobStore, device: Device) -> Job:
    """The job that the device's papers name."""
    (found,) = [each.job for each in await store.of_device(device.device_id) if each.job.job_id == device.job]
    return found


async def records(store: JobStore, device: Device) -> dict[RecordKind, Envelope]:
    """What is on record of that job."""
    (found,) = [each for each in await store.of_device(device.device_id) if each.job.job_id == device.job]
    return dict(found.records)


async def open_as(store: JobStore, world: World, device: Device) -> Device:
    """The device, its job opened here: the same device, under the job id the store gave it."""
    job = await opened(store, device.device_id, world.order.order_id)
    return Device(device.key, device.device_id, job.job_id)


async def bring_to(store: JobStore, world: World, last: RecordKind, device: Device | None = None) -> Papers:
    """A unit with every record up to and including `last`."""
    made = papers(world, await open_as(store, world, device or Device()))
    for kind, statement in made.steps.items():
        await store.record(made.device.job, kind, statement)
        if kind is last:
            break
    return made


def log_key(world: World, station: str = STATION) -> NoteKey:
    return NoteKey(world.trusted.root.log_origin(station), public(world.stations[station].log).spki)


def note_for(world: World, head: Head, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """What a signer answers: the checkpoint as a signed note."""
    text = checkpoint_text(head.origin, head.size, head.root_hash)
    signature = (key or world.stations[STATION].log).sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    return assemble(text, sign_line(head.origin, log_key(world).spki, signature))


async def publish(store: JobStore, world: World) -> None:
    async def sign(head: Head) -> str:
        return note_for(world, head)

    await store.publish(log_key(world), sign)


async def busy_station(path: Path, world: World) -> None:
    """A ledger of units at every stage, both key types, an adopted job, events, two checkpoints; no papers."""
    store = store_at(path, world)
    rsa = world.with_order(order_id="order-8", key_type="rsa-2048")
    await store.keep_order(world.order_envelope)
    await store.keep_order(rsa.order_envelope)
    await bring_to(store, world, RecordKind.COMPLETION_RECEIPT)
    await publish(store, world)
    held = await bring_to(store, world, RecordKind.PIN)
    job = await job_of(store, held.device)
    await store.note(happened(world, "verdict", job, 1, verdict="HELD"))
    await bring_to(store, rsa, RecordKind.COMPLETION_RECEIPT, Device(rsa_key()))
    lost = await bring_to(store, world, RecordKind.PIN)
    gone = await job_of(store, lost.device)
    await store.record(gone.job_id, RecordKind.PIN_REFUSED, refusal(world, gone))
    elsewhere = Device()
    await opened(store, elsewhere.device_id, world.order.order_id, elsewhere.job)
    adopted = papers(world, elsewhere, station="station-02")
    for kind in (RecordKind.PIN, RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION):
        await store.record(elsewhere.job, kind, adopted.steps[kind])
    await store.note(stamp(world).event("station-started"))
    await publish(store, world)
    await store.close()


async def filled_station(path: Path, world: World) -> None:
    """A busy station's ledger with every table filled: papers and a third checkpoint at its end."""
    await busy_station(path, world)
    store = store_at(path, world)
    rsa = world.with_order(order_id="order-8", key_type="rsa-2048")
    await store.keep_paper(paperkit.balance(world, orders=(paperkit.count(world, pins=3, completions=2),)))
    await store.keep_paper(paperkit.returned(rsa, pins=1, completions=1, quantity=499, allowance=5))
    await store.keep_paper(paperkit.balance(world, pins=4))
    await publish(store, world)
    await store.close()


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the file itself, past the product."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def tables(path: Path) -> list[str]:
    found = rows(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    return [name for (name,) in found if name != "alembic_version"]


def vandalise(path: Path, *statements: str) -> None:
    """Change the file as somebody with access to it could: triggers dropped, keys off, no trace left but the rows."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("synchronous = OFF", "foreign_keys = OFF", "ignore_check_constraints = ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for each in statements:
            connection.execute(each)
        for _, sql in triggers:
            connection.execute(sql)
        connection.execute("COMMIT")
