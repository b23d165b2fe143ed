"""Before the shift: is everything there and in order? Asks every party one harmless question; changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fixtures.device import DeviceError, NoAnswerError
from fixtures.slot import SlotConfig
from station import checks, wiring
from station import config as settings
from station.disk import enough_disk, free_at
from station.faults import Fault
from station.finding import Finding, ask, in_a_line
from station.known import Known, signed
from station.plan import agree, chosen, load_order, load_slots, named_slots
from station.root import load_root
from station.usage import UsageError
from trust.order import WorkOrder
from trust.statement import read


class Readiness:
    """All questions about one station. Raises the fault `setup` only for settings that cannot be read."""

    def __init__(
        self,
        config_file: Path,
        order_file: Path | None,
        *,
        slots_file: Path | None = None,
        slots: tuple[str, ...] = (),
    ) -> None:
        self.config, self.paths = settings.load(config_file)
        self._order_file = order_file
        self._slots_file = slots_file
        self._names = slots

    async def all(self) -> list[Finding]:
        """Every finding, in the order an operator would mend them; without a root nobody else can be judged."""
        findings, work = [await ask("root", self._root), await ask("disk", self._disk)], None
        if findings[0].good:
            work = self._work()
            known = Known(self.config, self.paths, load_root(self.paths.root))
            findings += await known.findings(self._order_file, work)
            findings.append(await ask("proxy", known.proxy))
        return [*findings, *await self._slots(work)]

    def _work(self) -> WorkOrder | None:
        """The order to hold units against; None if there is none that can be read, which is a finding of its own."""
        with contextlib.suppress(Fault, UsageError):
            if self._order_file is not None:
                return read(load_order(self._order_file, load_root(self.paths.root)), WorkOrder)
        return None

    async def _root(self) -> str:
        root = load_root(self.paths.root)
        agree(self.config, root)
        return (
            f"{root.sha256} (version {root.root.version}, environment {root.root.environment}, {signed(root.signed)})"
        )

    async def _disk(self) -> str:
        directory = self.paths.database.parent
        enough_disk(directory, self.config.limits.disk_reserve_mb)
        return f"{free_at(directory)} MB free"

    async def _slots(self, work: WorkOrder | None) -> list[Finding]:
        try:
            there = load_slots(self.paths.slots) if self._slots_file is None else named_slots(self._slots_file)
            slots = chosen(there, self._names)
        except Fault as error:
            return [Finding("slots", "BAD", in_a_line(error))]
        except UsageError as error:
            return [Finding("slots", "BAD", str(error))]
        return judged(await asyncio.gather(*(_slot(slot, work) for slot in slots)))


def judged(slots: Sequence[Finding]) -> list[Finding]:
    """The slots of a jig: units that the order fails are its other half, unless no slot is left for the order."""
    if any(each.word == "ok" for each in slots):
        return list(slots)
    remedy = "No slot has a unit of this order: put them in, or give the order of these."
    return [replace(each, word="BAD", text=f"{each.text}. {remedy}") if each.word == "n/a" else each for each in slots]


async def _slot(slot: SlotConfig, work: WorkOrder | None) -> Finding:
    try:
        device = await wiring.open_slot(slot).open()
    except DeviceError as error:
        return Finding(slot.name, "BAD", str(error))
    try:
        identity = await device.identify()
    except NoAnswerError:
        return Finding(slot.name, "ok", f"{slot.port}: opens, no device answers (empty?)")
    except DeviceError as error:
        return Finding(slot.name, "BAD", f"{slot.port}: {error}")
    finally:
        await device.close()
    kind = ", emulated" if slot.emulated or identity.emulated else ""
    there = f"{identity.device_id}, {identity.hardware}, {identity.firmware_version}{kind}"
    try:
        if work is not None:
            checks.right_unit(work, identity)
    except Fault as error:
        return Finding(slot.name, "n/a", f"{there}; not for this order ({error.code}: {error.detail})")
    return Finding(slot.name, "ok", there)
