"""The WAN is away for days while the line goes on, and comes back: registry and station agree, and no memory has grown.

A real ledger, a real outbox and a real registry over one simulated clock; only the WAN between them is planted: away,
then back, with every tenth answer lost after the deed. Control: an outbox that gives up after five failures.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from registry.database import Database
from registry.orders.counts import counted
from registry.pins import store as rows
from registry.pins.batch import CompletionLine, PinBatch, PinLine
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from station.cloud import CloudUnreachableError, Sent
from station.held import finish_me
from station.jobs import RecordKind
from station.jobs.store import JobStore
from station.outbox import Outbox
from station.pace import Pace
from tests.registry.make import Device, World, world
from tests.station import ledgerkit as kit
from tests.station.test_outbox import FakeTime
from trust.dsse import Envelope
from trust.order import Allotment

TOGETHER = 16  # units in work at the same time
HOUR_S = 3600.0
_STEP_S = 10.0  # a line wakes its outbox about so often
FLAT = 1.10
BACKOFF_BYTES = 1000  # at most, of a statement that waits and was tried: the outbox remembers how often
SENDING_BYTES = 25_000_000  # a page and a batch under way, here and in the registry beside it, however many wait


@dataclass
class Wan:
    """The registry as the station reaches it, when it does."""

    batch_of: PinBatch
    away: bool = True
    asked: int = 0
    answered: int = 0

    async def pin(self, device, statement, order):  # type: ignore[no-untyped-def]
        (receipt,) = await self.batch([Sent(device, statement, order)])
        return PinShown(receipt)

    async def complete(self, device, completion):  # type: ignore[no-untyped-def]
        (receipt,) = await self.batch([Sent(device, completion)])
        return PinShown(receipt)

    async def batch(self, sent: Sequence[Sent]) -> list[Envelope]:
        self.asked += 1
        if self.away:
            raise CloudUnreachableError("planted: no WAN")
        lines = [
            CompletionLine(each.device, each.statement)
            if each.order is None
            else PinLine(each.device, each.statement, each.order)
            for each in sent
        ]
        settled = await asyncio.to_thread(self.batch_of.settle, lines)
        self.answered += 1
        if self.answered % 10 == 0:
            raise CloudUnreachableError("planted: the answer is lost")
        found = []
        for line, each in zip(lines, settled, strict=True):
            assert isinstance(each, PinRecord), each
            entry = each.completion if isinstance(line, CompletionLine) else each.pin
            assert entry is not None
            found.append(entry.receipt)
        return found


@dataclass
class PinShown:
    """Of a record, what the outbox looks at."""

    receipt: Envelope

    @property
    def completion_receipt(self) -> Envelope:
        return self.receipt


@dataclass
class Shift:
    """One station, its registry, and the units of the shift."""

    made: World
    store: JobStore
    registry: Database
    wan: Wan
    outbox: Outbox
    clock: FakeTime
    devices: list[Device]
    rss: dict[str, int] = field(default_factory=dict)

    async def begin(self, hours: float) -> None:
        """Every unit as far as it comes without the registry, evenly over the outage; the outbox tries as it does."""
        span = hours * HOUR_S / len(self.devices)
        for first in range(0, len(self.devices), TOGETHER):
            group = range(first, min(first + TOGETHER, len(self.devices)))
            await asyncio.gather(*(self._signed(number) for number in group))
            await self._pass_time(len(group) * span)
            if first // TOGETHER == len(self.devices) // TOGETHER // 4:
                self.measure("a quarter of the outage")

    async def finish(self) -> None:
        """Every unit again, now that its pin has a receipt."""
        for first in range(0, len(self.devices), TOGETHER):
            await asyncio.gather(*(self._completed(each) for each in self.devices[first : first + TOGETHER]))

    async def drain(self, most: int = 400) -> int:
        """Until nothing waits; how many passes it took."""
        for number in range(1, most + 1):
            await self.outbox._drain(patient=True)
            if await self.store.waiting() == 0:
                return number
            self.clock.now += 5.0
        return most

    def measure(self, when: str) -> None:
        self.rss[when] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    async def _signed(self, number: int) -> None:
        device = await kit.open_as(self.store, self.made, self.devices[number])
        self.devices[number] = device
        pin = self.made.pin(device)
        await self.store.record(device.job, RecordKind.INTENT, kit.unsigned(pin))
        await self.store.record(device.job, RecordKind.PIN, pin)

    async def _completed(self, device: Device) -> None:
        on_record = await kit.records(self.store, device)
        done = self.made.completion(device, on_record[RecordKind.PIN], on_record[RecordKind.PIN_RECEIPT])
        await self.store.record(device.job, RecordKind.COMPLETION_INTENT, kit.unsigned(done))
        await self.store.record(device.job, RecordKind.COMPLETION, done)

    async def _pass_time(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while (due := max(self.clock.now + _STEP_S, self.outbox._away.not_before)) < until:
            self.clock.now = due
            await self.outbox._drain(patient=True)
        self.clock.now = until

    async def agreed(self) -> int:
        """How many devices registry and station say the very same of."""
        same = 0
        for first in range(0, len(self.devices), 500):
            some = self.devices[first : first + 500]
            with self.registry.read() as connection:
                there = rows.load_many(connection, [each.device_id for each in some])
            for device in some:
                here = await kit.records(self.store, device)
                stored = there[device.device_id][0]
                assert stored.completion is not None
                same += here == {
                    RecordKind.INTENT: kit.unsigned(stored.pin.statement),
                    RecordKind.PIN: stored.pin.statement,
                    RecordKind.PIN_RECEIPT: stored.pin.receipt,
                    RecordKind.COMPLETION_INTENT: kit.unsigned(stored.completion.statement),
                    RecordKind.COMPLETION: stored.completion.statement,
                    RecordKind.COMPLETION_RECEIPT: stored.completion.receipt,
                }
        return same


def shift(directory: Path, database: Database, units: int) -> Shift:
    plain = world(quantity=2 * units)
    made = plain.with_order(stations={"station-01": Allotment(quantity=2 * units, allowance=10)})
    signer = made.signer()
    service = PinService(database, made.trusted, signer)
    store, clock = kit.store_at(directory / "station.db", made), FakeTime()
    wan = Wan(PinBatch(database, made.trusted, signer, service))
    pace = Pace(monotonic=clock.monotonic, sleep=clock.sleep)
    outbox = Outbox(store, wan, root=made.trusted, stamp=kit.stamp(made), stop_line=print, pace=pace)  # type: ignore[arg-type]
    devices = [Device() for _ in range(units)]
    for each in devices:  # a key that signs for the first time takes memory, which is the test's and no station's
        each.possession("pin")
    return Shift(made, store, database, wan, outbox, clock, devices)


async def outage(here: Shift, hours: float) -> str:
    units = len(here.devices)
    await here.store.keep_order(here.made.order_envelope)
    await here.begin(hours)
    assert await here.store.waiting() == units, "nothing is dropped"
    asked = here.wan.asked
    assert asked < hours * 60 * 3 * 4, "a registry that is away is left alone"
    assert len(await finish_me(here.store, here.made.order.order_id)) == units, "each is listed by name"
    here.measure("the end of the outage")
    here.wan.away = False
    here.clock.now += 60.0
    passes = [await here.drain()]
    assert await here.store.waiting() == 0, "all pins are taken"
    here.measure("all pins taken")
    await here.finish()
    passes.append(await here.drain())
    assert await here.store.waiting() == 0, "all completions are taken"
    here.measure("all completions taken")
    assert await here.agreed() == units
    with here.registry.read() as connection:
        (share,) = counted(connection, here.made.order_envelope.payload_sha256)
    assert (share.pins, share.completions) == (units, units)
    await here.store.close()
    megabytes = ", ".join(f"{each / 1e6:.0f} MB at {when}" for when, each in here.rss.items())
    return f"{units} units in {hours:g} h, {asked} questions in vain, drained in {passes} passes: {megabytes}"


def test_an_outage_of_an_hour(tmp_path: Path, database: Database) -> None:
    print(asyncio.run(outage(shift(tmp_path, database, 160), 1.0)))


def test_control_an_outbox_that_gives_up_is_found_out(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the nearest open peer does after five failures."""
    here = shift(tmp_path, database, 32)
    plain = Outbox._due

    def gives_up(outbox: Outbox, item):  # type: ignore[no-untyped-def]
        return outbox._tried(item).failures < 5 and plain(outbox, item)

    monkeypatch.setattr(Outbox, "_due", gives_up)
    with pytest.raises(AssertionError, match="all pins are taken"):
        asyncio.run(outage(here, 2.0))


@pytest.mark.soak
def test_an_outage_of_72_hours(tmp_path: Path, database: Database) -> None:
    here = shift(tmp_path, database, int(os.environ.get("KS_OUTAGE_UNITS", "20000")))
    print(asyncio.run(outage(here, 72.0)))
    first, waited, *sent = here.rss.values()
    flat = FLAT * first + BACKOFF_BYTES * len(here.devices)
    assert waited <= flat and max(sent) <= flat + SENDING_BYTES, here.rss
