"""Before the shift: is everything there and in order? Asks every party one harmless question; changes nothing."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from fixtures.device import DeviceError
from fixtures.slot import SlotConfig
from fixtures.slots import SerialSlot
from hsm.client import SignerClient
from hsm.signer import SignerError, SignerUnavailableError
from station import config as settings
from station import wiring
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import Fault, fault
from station.line import Clock
from station.plan import Plan, agree, load_order, load_slots
from station.root import load_root
from station.steps import classify
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import read


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    good: bool
    text: str


class Readiness:
    """All questions about one station."""

    def __init__(self, config_file: Path, order_file: Path | None) -> None:
        self.config, self.paths = settings.load(config_file)
        self.root: TrustedRoot = load_root(self.paths.root)
        agree(self.config, self.root)
        self._order_file = order_file

    async def all(self) -> list[Finding]:
        """Every finding, in the order an operator would mend them."""
        root = self.root.root
        return [
            Finding(
                "root", True, f"{self.root.sha256} (version {root.version}, environment {root.environment}, unsigned)"
            ),
            await _ask("order", self._order),
            await _ask("disk", self._disk),
            await _ask("ledger", self._ledger),
            await _ask("signer", self._signer),
            await _ask("registry", self._registry),
            Finding("proxy", True, self.config.registry.proxy or "none"),
            *await self._slots(),
        ]

    async def _order(self) -> str:
        if self._order_file is None:
            return "none given (--order FILE checks one)"
        order = load_order(self._order_file, self.root)
        work = read(order, WorkOrder)
        return f"{work.order_id}: {work.quantity} + {work.allowance} of {work.product}, {work.key_type}, unsigned order"

    async def _disk(self) -> str:
        wiring.enough_disk(self.paths.database.parent, self.config.limits.disk_reserve_mb)
        return f"{shutil.disk_usage(self.paths.state).free // 1_000_000} MB free"

    async def _ledger(self) -> str:
        if not self.paths.database.exists():
            return "none yet; the first batch makes it"
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            tip, waiting, newest = await store.tip(), await store.pending(), await store.newest_event()
        finally:
            await store.close()
        now = Clock().utc()
        if newest is not None and newest.at > now:
            raise fault("setup", f"the clock says {now}, the newest record {newest.at}: set the clock")
        return (
            f"{tip.size} leaves, {len(waiting)} statements wait for the registry; clock is not behind the newest record"
        )

    async def _signer(self) -> str:
        signer = SignerClient(self.paths.signer_socket)
        try:
            status = await signer.status()
        except (SignerError, SignerUnavailableError) as error:
            raise fault("signer-down", str(error)) from error
        finally:
            await signer.close()
        wiring.check_signer(self.config, self.root, status)
        total = sum(status.signatures.values())
        return (
            f"{status.name}, token {status.token_label} ({status.token_model}), {total} signatures, keys are the root's"
        )

    async def _registry(self) -> str:
        cloud = wiring.open_cloud(self.config, self.root)
        try:
            await cloud.history(DeviceId(secrets.token_bytes(12)))
        except (CloudUnreachableError, CloudRefusedError) as error:
            raise fault("registry-unreachable", str(error)) from error
        finally:
            await cloud.close()
        return f"{self.root.root.registry_url} answers, TLS certificate is the root's"

    async def _slots(self) -> list[Finding]:
        try:
            slots = load_slots(self.paths.slots)
        except Fault as error:
            return [Finding("slots", False, _text(error))]
        return list(await asyncio.gather(*(self._slot(slot) for slot in slots)))

    async def _slot(self, slot: SlotConfig) -> Finding:
        try:
            device = await SerialSlot(slot).open()
        except DeviceError as error:
            return Finding(slot.name, False, str(error))
        try:
            identity = await device.identify()
        except DeviceError:
            return Finding(slot.name, True, f"{slot.port}: opens, no device answers (empty?)")
        finally:
            await device.close()
        kind = ", emulated" if slot.emulated or identity.emulated else ""
        return Finding(slot.name, True, f"{identity.device_id}, {identity.hardware}, {identity.firmware_version}{kind}")


async def rehearse(plan: Plan) -> None:
    """Everything `station run` does before the first device; raises the fault that would stop it."""
    signer = SignerClient(plan.paths.signer_socket)
    cloud = wiring.open_cloud(plan.config, plan.root)
    try:
        wiring.check_signer(plan.config, plan.root, await signer.status())
        await cloud.history(DeviceId(secrets.token_bytes(12)))
    except (SignerError, SignerUnavailableError, CloudUnreachableError, CloudRefusedError) as error:
        raise classify(error) from error
    finally:
        await cloud.close()
        await signer.close()


async def _ask(subject: str, question: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, True, await question())
    except Fault as error:
        return Finding(subject, False, _text(error))


def _text(error: Fault) -> str:
    return f"{error} {error.row.remedy}"
