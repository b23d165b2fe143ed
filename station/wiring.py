"""The only builder: puts the real parties behind the protocols. Decides nothing about devices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fixtures.indicators import NoIndicators
from fixtures.slot import Slot, SlotConfig
from fixtures.slots import SerialSlot
from hsm.client import SignerClient
from hsm.signer import SignerStatus
from ledger.engine import Engine
from ledger.faults import StoreError
from station import config as settings
from station.agreement import (
    Place,
    admitted_order,
    hold_hourly,
    keep_leased,
    known_signer,
    pins_on_record,
    publish,
    require_no_surplus,
    require_same_order,
    take_up_root,
)
from station.alone import alone_with
from station.alongside import alongside
from station.cloud.access import Access, Shows
from station.cloud.devices import Devices
from station.cloud.http import HttpCloud
from station.disk import enough_disk, named, no_directory, usable
from station.events import OutboxSent
from station.faults import Fault, fault
from station.floor import Floor, MakeOutbox
from station.history import Reader
from station.jobs.schema import open_copy, open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.left_over import send_left_over
from station.line import Line, StopSwitch
from station.objections import Objected, Objections, beside, unheard
from station.order_report import room_left
from station.outbox import Outbox
from station.patience import PatientSigner
from station.plan import Plan, agree
from station.port import FloorPort
from station.promised import promised
from station.relay import HttpRelay
from station.root import load_root
from station.rostering import keep_roster
from station.same_log import require_same_log
from station.scrap.told import carry_scrap
from station.voice import Voice
from trust.root import TrustedRoot


def _unheard(_: OutboxSent) -> None:
    """Nobody asked."""


@asynccontextmanager
async def open_floor(
    plan: Plan, slot_names: tuple[str, ...] = (), *, told: Callable[[OutboxSent], None] = _unheard
) -> AsyncIterator[FloorPort]:
    """The floor for one batch: parties connected, order imported, outbox tried, log published at the end.

    `told` hears what became of the statements that were left in the outbox, if there were any.
    """
    promised(plan.work, plan.chosen(slot_names))
    slots = [open_slot(config) for config in plan.chosen(slot_names)]
    enough_disk(plan.paths.database.parent, plan.config.limits.disk_reserve_mb)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone_with(plan.paths.database))
        stack.push_async_callback((signer := open_signer(plan.paths)).close)
        stack.push_async_callback((cloud := open_cloud(plan.config, plan.root, signer)).close)
        status = await known_signer(plan, signer)
        store = await continued(plan, status)
        stack.push_async_callback(store.close)
        await take_up_root(store, plan.root, stamp_of(plan.config, plan.root))
        await admitted_order(plan.order, signer, store)
        await keep_leased(status, signer, cloud, plan.root, store)
        await carry_scrap(status.orders, signer, cloud, plan.root, store, stamp=stamp_of(plan.config, plan.root))
        await keep_roster(cloud, plan.root, store, stamp_of(plan.config, plan.root), plan.paths.database)
        await require_no_surplus(status.orders, store, await pins_on_record(store))
        voice, stop = Voice(), StopSwitch()
        line = Line(
            station=plan.config.station.name,
            root=plan.root,
            order=plan.order,
            work=plan.work,
            jobs=store,
            signer=PatientSigner(signer=signer, emit=voice.say, patience_s=plan.config.signer.patience_s, stop=stop),
            cloud=cloud,
            relay=HttpRelay(cloud),
            stop=stop,
            indicators=NoIndicators(),
            emit=voice.say,
            headroom=await room_left(store, plan.work),
            max_attempts=plan.config.limits.max_attempts,
            generation_timeout_s=plan.config.limits.generation_timeout_s,
        )
        objected = Objections(beside(plan.paths.database))
        make_outbox = outbox_maker(line, store, stamp_of(plan.config, plan.root), objected.add)
        if (sent := await send_left_over(store, make_outbox, plan.config.registry.timeout_s)) is not None:
            told(sent)
        async with alongside(hold_hourly(line.signer, store, plan.root, line.stop.set)):
            yield Floor(line, slots, make_outbox, voice)
        await publish(plan.root, signer, store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What work on orders needs: signer, registry and ledger of this station, and nobody else at the ledger."""

    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot
    signer: SignerClient
    store: JobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class _Here:
    config: settings.Config
    paths: settings.Paths
    root: TrustedRoot


@asynccontextmanager
async def open_desk(config_file: Path) -> AsyncIterator[Desk]:
    """Signer and ledger, agreed as for a batch; the faults of `known_signer` and `continued`."""
    config, paths = settings.load(config_file)
    here = _Here(config=config, paths=paths, root=load_root(paths.root))
    agree(config, here.root)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone_with(paths.database))
        signer = open_signer(paths)
        stack.push_async_callback(signer.close)
        store = await continued(here, await known_signer(here, signer))
        stack.push_async_callback(store.close)
        await take_up_root(store, here.root, stamp_of(config, here.root))
        yield Desk(config=config, paths=paths, root=here.root, signer=signer, store=store)


@asynccontextmanager
async def asking_signer(config_file: Path) -> AsyncIterator[SignerStatus]:
    """What the signer says, for reading only."""
    config, paths = settings.load(config_file)
    here = _Here(config=config, paths=paths, root=load_root(paths.root))
    signer = open_signer(paths)
    try:
        yield await known_signer(here, signer)
    finally:
        await signer.close()


def outbox_maker(line: Line, store: JobStore, stamp: Stamp, objected: Objected = unheard) -> MakeOutbox:
    """Sends what the registry has not acknowledged; judges answers as the flow does."""

    def make(stop_line: Callable[[Fault], None]) -> Outbox:
        return Outbox(
            store,
            line.cloud,
            root=line.root,
            stamp=stamp,
            stop_line=stop_line,
            in_work=line.in_work.__contains__,
            order=line.order,
            objected=objected,
            numbered=line.numbered,
        )

    return make


async def continued(place: Place, status: SignerStatus) -> JobStore:
    """The station's ledger, which goes on from the signer's last head; a new one only if the signer knows of none."""
    origin = place.root.root.log_origin(place.config.station.name)
    if not begun(place.paths.database):
        await require_same_log(status, origin, None)
    store = open_store(place)
    try:
        await require_same_log(status, origin, store)
    except Fault:
        await store.close()
        raise
    return store


async def rehearse_ledger(plan: Plan, status: SignerStatus) -> None:
    """As `continued` and `admitted_order`, and makes nothing."""
    store = read_store(plan.config, plan.paths, plan.root) if begun(plan.paths.database) else None
    try:
        await require_same_log(status, plan.root.root.log_origin(plan.config.station.name), store)
        if store is not None:
            await require_same_order(store, plan.order)
    finally:
        if store is not None:
            await store.close()


def begun(database: Path) -> bool:
    """Whether there is a ledger; an empty file is none. The fault `setup` where something else stands in its place."""
    with usable(database):
        no_directory(database)
        return database.is_file() and database.stat().st_size > 0


def open_store(place: Place) -> JobStore:
    """The station's database, made if there is none: `continued` knows whether it may be."""
    path, there = place.paths.database, begun(place.paths.database)
    with usable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return JobStore(open_database(path, create=True), stamp_of(place.config, place.root))
    except StoreError as error:
        raise fault("ledger-failed" if there else "setup", named(error, path)) from error


def read_store(config: settings.Config, paths: settings.Paths, root: TrustedRoot) -> JobStore:
    """A copy of the station's database, for reading all of it; `reader` is for one device."""
    return JobStore(open_ledger(paths.database, copy=True), stamp_of(config, root))


def open_ledger(database: Path, *, copy: bool) -> Engine:
    """The station's database for reading only: a copy to read all of it, or itself for short questions."""
    try:
        with usable(database):
            no_directory(database)
            return open_copy(database) if copy else open_database(database, read_only=True)
    except StoreError as error:
        raise fault("setup", named(error, database)) from error


@asynccontextmanager
async def reading_ledger(config_file: Path) -> AsyncIterator[JobStore]:
    """A copy of the ledger alone."""
    config, paths = settings.load(config_file)
    store = read_store(config, paths, load_root(paths.root))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def reader(config_file: Path) -> AsyncIterator[Reader]:
    """Ledger and registry, for reading only."""
    config, paths = settings.load(config_file)
    root = load_root(paths.root)
    store = JobStore(open_ledger(paths.database, copy=False), stamp_of(config, root))
    cloud = open_cloud(config, root, signer := open_signer(paths))
    try:
        yield Reader(root=root, jobs=store, cloud=cloud, devices=Devices(cloud))
    finally:
        for party in (cloud, signer, store):
            await party.close()


def stamp_of(config: settings.Config, root: TrustedRoot) -> Stamp:
    """What every event of this station carries."""
    return Stamp(station=config.station.name, environment=config.station.environment, root_sha256=root.sha256)


def open_cloud(config: settings.Config, root: TrustedRoot, signer: SignerClient) -> HttpCloud:
    """The registry at the root's address, trusted by the root's TLS certificate only; the signer says who we are."""
    return open_registry(config, root, Access(root.root.registry_url, signer))


def open_registry(config: settings.Config, root: TrustedRoot, access: Shows) -> HttpCloud:
    """The same, as whoever `access` shows."""
    try:
        return HttpCloud(
            root.root.registry_url, root.root.tls_root, access=access,
            timeout_s=config.registry.timeout_s, proxy=config.registry.proxy or None,
        )  # fmt: skip
    except ValueError as error:
        raise fault("setup", f"trust root: {error}") from error


def open_signer(paths: settings.Paths) -> SignerClient:
    """The factory signer behind its socket; connects when it is first asked."""
    return SignerClient(paths.signer_socket)


def open_slot(config: SlotConfig) -> Slot:
    """The slot over its serial port; opens nothing yet."""
    return SerialSlot(config)
