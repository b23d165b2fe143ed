"""Who is tricked: every party that takes a kind of document, asked through the product's own entry.

A party returns when it takes the document and raises what it refuses with. Holds no assertion.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hsm import roots
from hsm.checklist import Checklist
from registry.startup import load_root as registry_root
from station.agreement import require_same_order, take_up_root
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.leasing import renew
from station.minuting import minutes_for
from station.plan import for_this_station, load_order
from station.root import load_root as station_root
from tests.contract.judges import ON_COMPLETION, ON_PIN, ON_RECEIPT, AuditError, Unit
from tests.contract.stage import SITE, STATION, Stage
from tests.hsm.floor import Device
from tests.station.ledgerkit import empty_database
from trust import act as acts
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.statement import read

Party = Callable[[Stage, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trick:
    """What is tried: `play` makes, on a stage, the wrong thing and the right one; `because` is in every refusal."""

    name: str
    parties: dict[str, Party]
    play: Callable[[Stage], tuple[Any, Any]]
    because: str


def written(stage: Stage, name: str, data: bytes) -> Path:
    path = stage.directory / name
    path.write_bytes(data)
    return path


# ---- orders


def signer_on_order(stage: Stage, order: Envelope) -> None:
    stage.factory.import_order(order)


def registry_on_order(stage: Stage, order: Envelope) -> None:
    """A pin statement as it would be under this order, signed by the signer's key all the same."""
    device = Device()
    try:
        order_id = read(order, WorkOrder).order_id
    except ValueError:
        order_id = "unreadable"
    said = {"order_id": order_id, "order_sha256": order.payload_sha256, "order_signed": bool(order.signatures)}
    pin = stage.seal(stage.floor.pin(device, bytes(32), **said), "pin")
    stage.registry.pin(device.device_id, pin, order)


def station_on_order(stage: Stage, order: Envelope) -> None:
    path = written(stage, "order.json", order.to_json())
    found = load_order(path, stage.trusted)
    config: Any = SimpleNamespace(station=SimpleNamespace(name=STATION))
    for_this_station(read(found, WorkOrder), config)


def audit_on_order(stage: Stage, order: Envelope) -> None:
    try:
        stage.audit(order)
    except ValueError as error:  # an entry that is no leaf of any kind
        raise AuditError(str(error)) from error


def ledger_on_order(stage: Stage, order: Envelope) -> None:
    """The station's ledger, which knows the stage's order."""

    async def ask() -> None:
        store = station_store(stage)
        try:
            await store.keep_order(stage.floor.order_envelope)
            await require_same_order(store, order)
        finally:
            await store.close()

    asyncio.run(ask())


def station_store(stage: Stage) -> JobStore:
    path = stage.directory / "station.db"
    if not path.exists():
        path.write_bytes(empty_database())
    return JobStore(open_database(path), Stamp(station=STATION, environment=SITE, root_sha256=stage.trusted.sha256))


ON_ORDER: dict[str, Party] = {
    "signer": signer_on_order, "registry": registry_on_order, "station": station_on_order, "audit": audit_on_order,
}  # fmt: skip
NOW_ON_ORDER = {name: party for name, party in ON_ORDER.items() if name != "audit"}
"""Those who judge whether something may be made now: a record of what was right when it was made stays right."""


# ---- roots: bytes of a file


def signer_on_root(stage: Stage, file: bytes) -> None:
    trusted = roots.read_root(written(stage, "root.json", file))
    roots.take_up(stage.factory.signatory.counters, trusted, int(time.time()), first=True)


def registry_on_root(stage: Stage, file: bytes) -> None:
    registry_root(written(stage, "root.json", file))


def station_on_root(stage: Stage, file: bytes) -> None:
    trusted = station_root(written(stage, "root.json", file))

    async def take() -> None:
        store = station_store(stage)
        try:
            stamp = Stamp(station=STATION, environment=trusted.root.environment, root_sha256=trusted.sha256)
            await take_up_root(store, trusted, stamp)
        finally:
            await store.close()

    asyncio.run(take())


ON_ROOT: dict[str, Party] = {"signer": signer_on_root, "registry": registry_on_root, "station": station_on_root}
SEEN_ROOT = {name: party for name, party in ON_ROOT.items() if name != "registry"}


# ---- papers


def signer_on_act(stage: Stage, act: Envelope) -> None:
    stage.factory.perform_act(act)


def audit_on_paper(stage: Stage, paper: Envelope) -> None:
    stage.audit(stage.floor.order_envelope, paper)


def key_act(stage: Stage, act: Envelope) -> None:
    """What `station-signer act perform` asks before it goes to the token."""
    acts.allowed(act, stage.trusted, signer=STATION, now=stage.clock.utc())


ON_ACT: dict[str, Party] = {"signer": signer_on_act, "audit": audit_on_paper}
SIGNER_ON_ACT = {"signer": signer_on_act}
ON_KEY_ACT: dict[str, Party] = {"officers' tool": key_act, "audit": audit_on_paper}


def signer_on_lease(stage: Stage, lease: Envelope) -> None:
    stage.factory.import_lease(lease)


def station_on_lease(stage: Stage, lease: Envelope) -> None:
    """The station fetches a lease, and this is what it is answered."""

    class Signer:
        async def lease_request(self) -> Envelope:
            return stage.factory.lease_request()

        async def import_lease(self, answer: Envelope) -> None:
            stage.factory.import_lease(answer)

    class Registry:
        async def lease(self, _: Envelope) -> Envelope:
            return lease

    class Papers:
        async def keep_paper(self, paper: Envelope) -> None:
            audit_on_paper(stage, paper)

    parties: Any = (Signer(), Registry(), stage.trusted, Papers())
    asyncio.run(renew(*parties))


def registry_on_request(stage: Stage, request: Envelope) -> None:
    stage.leases.grant(request)


ON_LEASE: dict[str, Party] = {"signer": signer_on_lease, "station": station_on_lease}
ON_SIGNED_LEASE: dict[str, Party] = {**ON_LEASE, "audit": audit_on_paper}
ON_REQUEST: dict[str, Party] = {"registry": registry_on_request}


def signer_on_revocation(stage: Stage, revocation: Envelope) -> None:
    stage.factory.import_revocation(revocation)


ON_REVOCATION: dict[str, Party] = {"signer": signer_on_revocation, "audit": audit_on_paper}
SIGNER_ON_REVOCATION: dict[str, Party] = {"signer": signer_on_revocation}


def station_on_minutes(stage: Stage, minutes: Envelope) -> None:
    minutes_for(minutes, stage.trusted, STATION)


def ceremony(stage: Stage, officers: tuple[str, ...]) -> None:
    """Who must stand by before a ceremony goes on."""
    listed: Any = Checklist.__new__(Checklist)
    listed.steps, listed._tell = [], lambda *_: None
    listed.officers(stage.trusted, officers)


ON_MINUTES: dict[str, Party] = {"station": station_on_minutes, "audit": audit_on_paper}
ON_CEREMONY: dict[str, Party] = {"ceremony": ceremony}


# ---- units


def on_pin(name: str) -> Party:
    return lambda stage, made: ON_PIN[name](stage, made[0], made[1])  # type: ignore[arg-type]  # a Stage is a Court here


def on_completion(name: str) -> Party:
    return lambda stage, made: ON_COMPLETION[name](stage, made[0], made[1])  # type: ignore[arg-type]


def on_receipt(name: str) -> Party:
    return lambda stage, made: ON_RECEIPT[name](stage, made[0], made[1])  # type: ignore[arg-type]


def registry_on_bytes(stage: Stage, made: tuple[Device, Envelope]) -> None:
    stage.registry.pin(made[0].device_id, made[1], stage.floor.order_envelope)


def audit_on_bytes(stage: Stage, made: tuple[Device, Envelope]) -> None:
    try:
        stage.tell(made[0], made[1])
    except AuditError:
        raise
    except ValueError as error:
        raise AuditError(str(error)) from error


PINS: dict[str, Party] = {name: on_pin(name) for name in ON_PIN}
COMPLETIONS: dict[str, Party] = {name: on_completion(name) for name in ON_COMPLETION}
RECEIPTS: dict[str, Party] = {name: on_receipt(name) for name in ON_RECEIPT}
BYTES: dict[str, Party] = {"registry": registry_on_bytes, "audit": audit_on_bytes}


def some_unit(stage: Stage) -> Unit:
    return stage.unit()
