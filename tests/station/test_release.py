"""What may ship: only what ledger and registry both say has passed, with the same key and the same completion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from station.cloud import CloudUnreachableError, PinRecord
from station.exits import Exit
from station.history import Reader
from station.jobs import RecordKind
from station.jobs.store import JobStore
from station.release import UnitRelease, Witness, exit_of, release
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from tests.station.untouched import untouched
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.statement import Verification, envelope


@dataclass
class Registry:
    """What the registry shows of each device; `says` changes one answer."""

    records: dict[DeviceId, PinRecord] = field(default_factory=dict)
    says: Callable[[PinRecord], PinRecord | None] = lambda record: record
    away: bool = False

    async def history(self, device: DeviceId) -> PinRecord | None:
        if self.away:
            raise CloudUnreachableError("planted")
        record = self.records.get(device)
        return None if record is None else self.says(record)


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def told(
    path: Path,
    made: World,
    *kinds: RecordKind,
    witness: Witness = "pending",
    order_id: str = "order-7",
    registry: Registry | None = None,
    then: Callable[[JobStore, Any], Any] | None = None,
) -> tuple[UnitRelease, ...] | None:
    """Units that got so far, one a kind, and what is said of them."""
    found: list[tuple[UnitRelease, ...] | None] = []
    asked = registry or Registry()

    async def work() -> None:
        store = kit.store_at(path / "station.db", made)
        await store.keep_order(made.order_envelope)
        for kind in kinds:
            unit = await kit.bring_to(store, made, kind)
            steps = unit.steps
            asked.records[unit.device.device_id] = PinRecord(
                state="active", statement=steps[RecordKind.PIN], receipt=steps[RecordKind.PIN_RECEIPT],
                completion=steps[RecordKind.COMPLETION], completion_receipt=steps[RecordKind.COMPLETION_RECEIPT],
            )  # fmt: skip
            if then is not None:
                await then(store, unit)
        reader = Reader(root=made.trusted, jobs=store, cloud=asked, devices=untouched())  # type: ignore[arg-type]
        found.append(await release(reader, order_id, witness))
        await store.close()

    kit.run(work())
    return found[0]


def one(found: tuple[UnitRelease, ...] | None) -> UnitRelease:
    assert found is not None
    (unit,) = found
    return unit


PASSED = RecordKind.COMPLETION_RECEIPT


class Waiving(World):
    """A world whose completions say that the handshake was waived."""

    def completion(self, device: Device, pin: Envelope, receipt: Envelope, **changes: Any) -> Envelope:
        said = Verification(
            cycle="power-cycle",
            possession=device.possession("verify"),
            handshake="waived",
            handshake_waiver="service-away",
        )
        return super().completion(device, pin, receipt, verification=said, **changes)


@pytest.mark.parametrize(
    ("waivers", "ships", "handshake"), [(("service-away",), True, "waived"), (("no-tunnel",), False, "")]
)
def test_what_has_no_handshake_says_so_and_ships_only_by_its_orders_leave(
    tmp_path: Path, made: World, waivers: tuple[str, ...], ships: bool, handshake: str
) -> None:
    wants = made.with_order(handshakes=(made.order.service,), handshake_waivers=waivers)
    waiving = Waiving(**{each.name: getattr(wants, each.name) for each in fields(wants)})
    unit = one(told(tmp_path, waiving, PASSED))
    assert (unit.ships, unit.handshake) == (ships, handshake), unit
    if not ships:
        assert (unit.reason, "which the order does not allow" in unit.text) == ("clash", True)


def test_what_passed_and_is_active_ships_and_its_witness_is_pending(tmp_path: Path, made: World) -> None:
    units = told(tmp_path, made, PASSED, PASSED)
    assert units is not None
    assert [(each.ships, each.reason, each.witness) for each in units] == [(True, "", "pending")] * 2
    assert [each.handshake for each in units] == ["not-asked"] * 2
    assert exit_of(units) is Exit.PASSED


@pytest.mark.parametrize(
    ("kind", "reason", "code"),
    [
        (RecordKind.PIN, "not-passed", Exit.UNIT_FAILED),
        (RecordKind.PIN_RECEIPT, "not-passed", Exit.UNIT_FAILED),
        (RecordKind.COMPLETION, "not-acknowledged", Exit.HELD),
    ],
)
def test_what_got_no_further_stays(tmp_path: Path, made: World, kind: RecordKind, reason: str, code: Exit) -> None:
    found = told(tmp_path, made, PASSED, kind)
    assert found is not None
    assert [each.ships for each in found] == [True, False]
    assert (found[1].reason, exit_of(found)) == (reason, code)
    assert found[1].text


def test_what_the_registry_has_refused_for_good_stays(tmp_path: Path, made: World) -> None:
    async def refused(store: JobStore, unit: Any) -> None:
        ((known),) = await store.of_device(unit.device.device_id)
        loss = kit.stamp(made).event("pin-refused", known.job, details={"code": "device-has-other-key"})
        await store.record(known.job.job_id, RecordKind.PIN_REFUSED, envelope(loss))

    unit = one(told(tmp_path, made, RecordKind.PIN, then=refused))
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "lost", Exit.QUARANTINED)


def other_key(made: World, record: PinRecord) -> PinRecord:
    """Another station has pinned the same device with another key since, and finished it."""
    from trust.statement import PinStatement, read

    device = Device(device_id=DeviceId.parse(read(record.statement, PinStatement).device_id))
    steps = kit.papers(made, device, "station-02").steps
    return PinRecord(
        state="active", statement=steps[RecordKind.PIN], receipt=steps[RecordKind.PIN_RECEIPT],
        completion=steps[RecordKind.COMPLETION], completion_receipt=steps[RecordKind.COMPLETION_RECEIPT],
    )  # fmt: skip


def provisional(_: World, record: PinRecord) -> PinRecord:
    return replace(record, state="provisional", completion=None, completion_receipt=None)


def unsigned(_: World, record: PinRecord) -> PinRecord:
    return replace(record, statement=Envelope(record.statement.payload, record.statement.payload_type))


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        (lambda _made, _record: None, "clash", Exit.QUARANTINED),
        (other_key, "clash", Exit.QUARANTINED),
        (unsigned, "clash", Exit.QUARANTINED),
        (provisional, "not-active", Exit.HELD),
    ],
    ids=["forgotten", "another key", "nobody signed it", "not active"],
)
def test_what_the_registry_does_not_bear_out_stays(
    tmp_path: Path, made: World, change: Any, reason: str, code: Exit
) -> None:
    registry = Registry(says=lambda record: change(made, record))
    unit = one(told(tmp_path, made, PASSED, registry=registry))
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, reason, code)


def test_a_registry_that_is_silent_lets_nothing_ship(tmp_path: Path, made: World) -> None:
    unit = one(told(tmp_path, made, PASSED, registry=Registry(away=True)))
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "no-answer", Exit.HELD)


def test_where_a_witness_is_required_nothing_ships_as_none_is_built(tmp_path: Path, made: World) -> None:
    unit = one(told(tmp_path, made, PASSED, witness="required"))
    assert (unit.ships, unit.reason, exit_of([unit])) == (False, "not-witnessed", Exit.HELD)


def test_an_order_that_nobody_knows_is_no_empty_list(tmp_path: Path, made: World) -> None:
    assert told(tmp_path, made, PASSED, order_id="order-8") is None


def test_control_a_ledger_alone_would_have_let_it_ship(tmp_path: Path, made: World) -> None:
    """The clash is at the registry only: who asks the ledger only finds a unit that passed."""

    async def passed(store: JobStore, unit: Any) -> None:
        assert RecordKind.COMPLETION_RECEIPT in await kit.records(store, unit.device)

    unit = one(
        told(tmp_path, made, PASSED, registry=Registry(says=lambda record: other_key(made, record)), then=passed)
    )
    assert not unit.ships
