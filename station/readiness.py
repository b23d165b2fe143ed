"""Before the shift: is everything there and in order? Asks every party one harmless question; changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fixtures.device import DeviceError, NoAnswerError
from fixtures.slot import SlotConfig
from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from station import checks, wiring
from station import config as settings
from station.agreement import check_signer, require_same_order
from station.cloud import Cloud, CloudRefusedError, CloudUnreachableError
from station.disk import enough_disk, free_at
from station.faults import Fault, SetupError
from station.jobs import LedgerError, OutboxItem, RecordKind
from station.jobs.store import JobStore
from station.leaves import classify
from station.line import Clock
from station.plan import agree, chosen, for_this_station, load_order, load_slots, named_slots
from station.root import load_root
from station.same_log import require_same_log
from station.usage import UsageError
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.order import WorkOrder, window_problem
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement, read

_HOUR, _DAY = 60, 24 * 60  # minutes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    good: bool
    text: str


class NotReadyError(Exception):
    """Something is not as it must be; the text says what to do."""


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
        findings = [await _ask("root", self._root), await _ask("disk", self._disk)]
        if findings[0].good:
            known = Known(self.config, self.paths, load_root(self.paths.root))
            findings += await known.findings(self._order_file)
        findings.append(Finding("proxy", True, self.config.registry.proxy or "none"))
        return [*findings, *await self._slots(self._work() if findings[0].good else None)]

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
            f"{root.sha256} (version {root.root.version}, environment {root.root.environment}, {_signed(root.signed)})"
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
            return [Finding("slots", False, _text(error))]
        except UsageError as error:
            return [Finding("slots", False, str(error))]
        return list(await asyncio.gather(*(_slot(slot, work) for slot in slots)))


@dataclass(frozen=True, slots=True)
class Known:
    """What can only be asked once the trust root is known."""

    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot

    async def findings(self, order_file: Path | None) -> list[Finding]:
        """Order, ledger and clock, signer, registry."""
        signer, ledger = await self._signer_and_ledger()
        if not ledger.good:  # a batch may have ended between the two answers, and its log got a new head
            signer, ledger = await self._signer_and_ledger()
        return [
            await _ask("order", lambda: self._order(order_file)),
            ledger,
            await _ask("signer", lambda: self._signer(signer)),
            await _ask("registry", self._registry),
        ]

    async def _order(self, order_file: Path | None) -> str:
        if order_file is None:
            return "none given (--order FILE checks one)"
        order = load_order(order_file, self.root)
        work = read(order, WorkOrder)
        for_this_station(work, self.config)
        part = work.allotted(self.config.station.name)
        total = f"{work.order_id}: {part.quantity} + {part.allowance} of {work.product}, {work.key_type}"
        closed = window_problem(work, dt.datetime.now(dt.UTC))
        ended = "" if closed is None else "; only units that were signed for can be finished: " + closed
        return f"{total}, {_signed(bool(order.signatures))}; {await self._passed(order)} have passed here{ended}"

    async def _passed(self, order: Envelope) -> int:
        if not wiring.begun(self.paths.database):
            return 0
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            work = await require_same_order(store, order)
            return (await store.tally(work.order_id)).passed
        except LedgerError as error:
            raise classify(error) from error
        finally:
            await store.close()

    async def _signer_and_ledger(self) -> tuple[SignerStatus | NotReadyError, Finding]:
        signer = await self._status()
        return signer, await _ask("ledger", lambda: self._ledger(signer))

    async def _status(self) -> SignerStatus | NotReadyError:
        """What the root's signer says of itself: ledger and signer are both judged by it."""
        signer = wiring.open_signer(self.paths)
        try:
            status = await signer.status()
            check_signer(self.config, self.root, status)
        except (SignerError, SignerUnavailableError) as error:
            return NotReadyError(f"{error}. Start it: station-signer serve --dir DIR --root ROOT")
        except Fault as error:
            return NotReadyError(_text(error))
        finally:
            await signer.close()
        return status

    async def _ledger(self, signer: SignerStatus | NotReadyError) -> str:
        if not wiring.begun(self.paths.database):
            return await self._no_ledger(signer)
        store = wiring.read_store(self.config, self.paths, self.root)
        try:
            compared = await self._compared(signer, store)
            tip, waiting, newest = await store.tip(), await store.pending(), await store.newest_event()
        except LedgerError as error:
            raise classify(error) from error
        finally:
            await store.close()
        clock = Clock()
        now = clock.utc()
        if newest is not None and newest.at > now:
            raise NotReadyError(f"the clock says {now}, the newest record is of {newest.at}. Set the clock.")
        return f"{tip.size} leaves; {left_over(waiting, clock.now())}; {compared}; the clock is not behind"

    async def _no_ledger(self, signer: SignerStatus | NotReadyError) -> str:
        if isinstance(signer, NotReadyError):
            return "none here; whether there was one, the signer would know"
        await require_same_log(signer, self._origin, None)
        return "none yet; the first batch makes it"

    async def _compared(self, signer: SignerStatus | NotReadyError, store: JobStore) -> str:
        if isinstance(signer, NotReadyError):
            return "not compared with the signer"
        await require_same_log(signer, self._origin, store)
        return "the log that the signer knows"

    @property
    def _origin(self) -> str:
        return self.root.root.log_origin(self.config.station.name)

    async def _signer(self, status: SignerStatus | NotReadyError) -> str:
        if isinstance(status, NotReadyError):
            raise status
        total = sum(status.signatures.values())
        token = f"{status.token_label} ({status.token_model})"
        return f"{status.name}, token {token}, {total} signatures, keys are the root's"

    async def _registry(self) -> str:
        cloud = wiring.open_cloud(self.config, self.root)
        try:
            await greet(cloud)
        finally:
            await cloud.close()
        return f"{self.root.root.registry_url} answers, TLS certificate is the root's"


def left_over(waiting: Sequence[OutboxItem], now: dt.datetime) -> str:
    """How many statements wait in the outbox, and for how long the oldest has."""
    if not waiting:
        return "nothing waits for the registry"
    age = now - min(_made_at(item) for item in waiting)
    count = "1 statement waits" if len(waiting) == 1 else f"{len(waiting)} statements wait"
    oldest = "" if len(waiting) == 1 else "the oldest "
    return f"{count} for the registry, {oldest}for {_in_words(age)} (the next batch sends first)"


def _made_at(item: OutboxItem) -> dt.datetime:
    completed = item.kind is RecordKind.COMPLETION
    at = read(item.envelope, Completion).made_at if completed else read(item.envelope, PinStatement).made_at
    return dt.datetime.fromisoformat(at)


def _in_words(age: dt.timedelta) -> str:
    minutes = max(0, int(age.total_seconds())) // 60
    if minutes < _HOUR:
        return f"{minutes} min"
    return f"{minutes // _HOUR} h {minutes % _HOUR} min" if minutes < _DAY else f"{minutes // _DAY} days"


async def _slot(slot: SlotConfig, work: WorkOrder | None) -> Finding:
    try:
        device = await wiring.open_slot(slot).open()
    except DeviceError as error:
        return Finding(slot.name, False, str(error))
    try:
        identity = await device.identify()
    except NoAnswerError:
        return Finding(slot.name, True, f"{slot.port}: opens, no device answers (empty?)")
    except DeviceError as error:
        return Finding(slot.name, False, f"{slot.port}: {error}")
    finally:
        await device.close()
    kind = ", emulated" if slot.emulated or identity.emulated else ""
    there = f"{identity.device_id}, {identity.hardware}, {identity.firmware_version}{kind}"
    try:
        if work is not None:
            checks.right_unit(work, identity)
    except Fault as error:  # another unit may be put in: no bad finding
        there += f"; this order fails it ({error.code}: {error.detail})"
    return Finding(slot.name, True, there)


async def greet(cloud: Cloud) -> None:
    """Ask the registry for a device that nobody has; NotReadyError."""
    try:
        await cloud.history(DeviceId(secrets.token_bytes(12)))
    except (CloudUnreachableError, CloudRefusedError) as error:
        raise NotReadyError(f"{error}. Look at registry, network and proxy; units would be held.") from error


async def _ask(subject: str, question: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(subject, True, await question())
    except (NotReadyError, UsageError) as error:
        return Finding(subject, False, str(error))
    except Fault as error:
        return Finding(subject, False, _text(error))


def _signed(yes: bool) -> str:  # noqa: FBT001 - a word for a fact
    return "approved" if yes else "unsigned"


def _text(error: Fault) -> str:
    """A fault without the batch around it: what is wrong, and its remedy unless that is the finding's own."""
    return error.detail if isinstance(error, SetupError) else f"{error} {error.row.remedy}"
