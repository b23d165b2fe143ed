"""The whole flow over a bad serial line: garbled, truncated, duplicated and reordered exchanges, reproducible by seed.

Every insertion ends in PASS or a named fault, none hangs, and no lie of the line reaches ledger, registry or flash.
Afterwards the line is good again and every device is inserted once more.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from fixtures.cycle import take_through_cycle
from fixtures.device import Device
from fixtures.families.smp import frame, wire
from fixtures.families.smp.driver import Patience, SmpDevice
from fixtures.families.smp.emulated import flash
from fixtures.families.smp.emulated.ports import MemoryLink
from fixtures.memory_slot import MemorySlot
from fixtures.slot import Restarted, SlotConfig
from station.events import UnitFinished, Verdict
from station.fault_table import TABLE
from tests.fixtures.mangling import MANGLINGS, ManglingLink, swap_letter
from tests.flow.plant import Parties, Plant, attempt
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.statement import Completion, PinStatement, read

HASTY = Patience(read_s=(0.015, 0.015, 0.03), sign_s=(0.04, 0.04), write_s=(0.03,))
HANG_S = 12.0
RATES = (0.03, 0.06, 0.12, 0.2, 0.3)
EXCHANGES = 1000
GOOD_LINE_INSERTIONS = 3


@dataclass(slots=True)
class Tally:
    """What the line did: exchanges with damage, and each damage by kind."""

    exchanges: int = 0
    damaged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def counted(self, kind: Callable) -> Callable:
        """A mangling that is counted when it did something."""

        def mangle(dice: random.Random, data: bytes) -> list[bytes]:
            parts = kind(dice, data)
            if parts != [data]:
                self.kinds[kind.__name__] += 1
            return parts

        return mangle


class BadLine(ManglingLink):
    """A mangling link that knows where an exchange begins."""

    def __init__(self, link: MemoryLink, dice: random.Random, rate: float, tally: Tally, kinds: tuple) -> None:
        super().__init__(link, dice, tuple(map(tally.counted, kinds)))
        self.rate = rate
        self._tally = tally
        self._before = 0

    async def write(self, data: bytes) -> None:
        self._tally.exchanges += 1
        self._before = self._damage()
        await super().write(data)
        self._note()

    async def read(self, timeout_s: float) -> bytes:
        held = len(self._held)
        data = await super().read(timeout_s)
        self._tally.kinds["hold_back"] += len(self._held) > held
        self._note()
        return data

    def _note(self) -> None:
        now = self._damage()
        if now > self._before:
            self._tally.damaged += 1
            self._before = float("inf")  # once an exchange

    def _damage(self) -> float:
        return self._tally.kinds.total()


class BadSlot:
    """A slot whose every link is bad; a cycle goes through the same bad line."""

    def __init__(self, slot: MemorySlot, dice: random.Random, tally: Tally, kinds: tuple = MANGLINGS) -> None:
        self.slot = slot
        self.rate = 0.0
        self.dice, self._tally, self._kinds = dice, tally, kinds

    @property
    def config(self) -> SlotConfig:
        return self.slot.config

    async def open(self) -> Device:
        device = await self.slot.open()
        assert isinstance(device, SmpDevice)
        if self.rate:
            device._link = BadLine(device._link, self.dice, self.rate, self._tally, self._kinds)
        return device

    async def cycle(self, device: Device) -> Restarted:
        return await take_through_cycle(device, self.slot._switch, self.open, within_s=2.0)


@dataclass(slots=True)
class Campaign:
    """Devices on one station, each with its slot, and how each insertion ended."""

    plant: Plant
    devices: dict[str, DeviceId]
    slots: dict[str, BadSlot]
    tally: Tally
    ends: Counter[str] = field(default_factory=Counter)
    hangs: list[str] = field(default_factory=list)
    last: dict[str, UnitFinished] = field(default_factory=dict)

    @classmethod
    def make(cls, directory: Path, seed: int, count: int, kinds: tuple = MANGLINGS) -> Campaign:
        tally, plant = Tally(), Plant.make(directory)
        names = [f"dev-{number:02}" for number in range(count)]
        devices = {name: plant.new_device(name) for name in names}
        slots = {
            name: BadSlot(plant.slot(name, patience=HASTY), random.Random(f"{seed} {name}"), tally, kinds)
            for name in names
        }
        return cls(plant, devices, slots, tally)

    async def insert(self, parties: Parties, name: str, rate: float) -> None:
        slot = self.slots[name]
        slot.rate = rate
        try:
            async with asyncio.timeout(HANG_S):
                result = await attempt(self.plant, parties, slot, max_attempts=100)
        except TimeoutError:
            self.hangs.append(name)
            return
        self.last[name] = result
        if rate:
            self.ends["PASS" if result.verdict is Verdict.PASS else result.code] += 1

    async def over(self, parties: Parties, rates: Callable[[str], Iterator[float]]) -> None:
        """Insert every device at each of its rates, all devices at once."""

        async def one(name: str) -> None:
            for rate in rates(name):
                await self.insert(parties, name, rate)

        await asyncio.gather(*map(one, self.devices))


def run(campaign: Campaign, rates: Sequence[float]) -> None:
    """Each device on the bad line at each of these rates, then on the good one until it has passed or is quarantined."""

    def bad(name: str) -> Iterator[float]:
        yield from campaign.slots[name].dice.sample(rates, k=len(rates))

    def good(name: str) -> Iterator[float]:
        for _ in range(GOOD_LINE_INSERTIONS):
            yield 0.0
            if campaign.last[name].verdict is not Verdict.FAIL:
                return

    async def story() -> None:
        parties = campaign.plant.parties()
        try:
            await campaign.over(parties, bad)
            for slot in campaign.slots.values():
                slot.slot._patience = Patience(read_s=(0.5, 0.5), sign_s=(1.0,), write_s=(1.0,))
            await campaign.over(parties, good)
        finally:
            await parties.jobs.close()
            campaign.plant.close()

    asyncio.run(story())


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


def lies(campaign: Campaign) -> list[str]:
    """Everything in ledger, registry and flash that is not so."""
    directory, plant = campaign.plant.directory, campaign.plant
    chips = {str(device): flash.load(directory / f"{name}.flash") for name, device in campaign.devices.items()}
    found = []
    for device, pinned, done in rows(
        directory / "registry.db",
        "SELECT p.device_id, p.statement, c.statement FROM pins p LEFT JOIN completions c USING (device_id)",
    ):
        pin = read(Envelope.from_json(pinned), PinStatement)
        if device not in chips:
            found.append(f"the registry has a pin for {device}, which nobody has made")
        elif pin.spki != public(chips[device]):
            found.append(f"the registry has another key for {device} than its flash")
        elif done is not None:
            found += unfinished(chips[device], read(Envelope.from_json(done), Completion), plant.work)
    known = {device for (device,) in rows(directory / "st-01.db", "SELECT device_id FROM jobs")}
    found += [f"the ledger has a job for {device}, which nobody has made" for device in known - chips.keys()]
    for name, result in campaign.last.items():
        if result.verdict is Verdict.PASS and result.device_id != str(campaign.devices[name]):
            found.append(f"{name} passed as {result.device_id}")
    return found


def public(chip: flash.Flash) -> bytes:
    """The public key of what the chip really holds."""
    if chip.key is None:
        return b""
    key = load_der_private_key(chip.key.private, None)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def unfinished(chip: flash.Flash, done: Completion, work: WorkOrder) -> list[str]:
    """What a completion says of a chip and is not so."""
    anchor = chip.anchor
    if anchor is None or (anchor.host, anchor.port) != (work.host, work.port):
        return [f"{done.device_id} is completed without its anchor"]
    if (anchor.cloud, anchor.auth) != (work.cloud_key, work.authority_key):
        return [f"{done.device_id} is completed with other cloud keys"]
    return [] if chip.locked_for is not None else [f"{done.device_id} is completed and not locked"]


@pytest.mark.timeout(90)
def test_over_a_bad_line_nothing_false_is_believed_and_nothing_hangs(tmp_path: Path, record_property) -> None:
    devices, rates = 30, 2 * RATES
    campaign = Campaign.make(tmp_path, 20260131, devices)
    run(campaign, rates)
    tally = campaign.tally
    print(f"{dict(tally.kinds)}; ends: {dict(campaign.ends)}")
    record_property("figures", f"whole flows over a bad line: {tally.damaged} of {tally.exchanges} exchanges damaged")
    assert tally.damaged >= EXCHANGES
    assert set(tally.kinds) == {kind.__name__ for kind in MANGLINGS} | {"hold_back"}
    assert min(tally.kinds.values()) > EXCHANGES / 50, "every kind of damage had its part"
    assert campaign.hangs == []
    assert campaign.ends.total() == devices * len(rates)
    assert set(campaign.ends) <= {"PASS", *TABLE}, "every fault has its name"
    assert campaign.ends["PASS"] > 10, "some get through"
    assert lies(campaign) == []
    after = Counter(result.verdict for result in campaign.last.values())
    print(f"over the good line: {dict(after)}")
    assert set(after) <= {Verdict.PASS, Verdict.QUARANTINE}
    assert after[Verdict.PASS] > devices / 2
    quarantined = [result.code for result in campaign.last.values() if result.verdict is Verdict.QUARANTINE]
    assert set(quarantined) <= set(TABLE)


@pytest.mark.timeout(60)
def test_negative_control_without_checksum_and_sequence_lies_are_believed(tmp_path: Path, monkeypatch) -> None:
    """The same campaign with a driver that checks neither: the invariants above must see it."""
    monkeypatch.setattr(frame, "_checksum_holds", lambda *_: True)
    accepted = Counter()
    real = wire.decode_answer

    def any_sequence(data: bytes, command: wire.Command, sequence: int) -> object:
        if len(data) > wire._HEADER.size:
            accepted["other sequence"] += data[6] != sequence
            data = data[:6] + bytes([sequence]) + data[7:]
        return real(data, command, sequence)

    monkeypatch.setattr(wire, "decode_answer", any_sequence)
    campaign = Campaign.make(tmp_path, 7, 24, (swap_letter,))
    run(campaign, [0.5] * 10)
    told = lies(campaign)
    print(f"{campaign.tally.damaged} exchanges damaged, {dict(accepted)} taken, {len(told)} lies on record, such as:")
    print("\n".join(f"    {each}" for each in told[:3]))
    assert any("which nobody has made" in each for each in told), "a device id that the line made up has a job"
