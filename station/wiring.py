"""The only builder: puts the real parties behind the protocols. Decides nothing about devices."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fixtures.indicators import NoIndicators
from fixtures.slots import SerialSlot
from hsm.client import SignerClient
from hsm.signer import CheckpointRequest, SignerStatus
from ledger.faults import StoreError
from ledger.publish import Head, PublishError
from station import config as settings
from station.alone import alone_with
from station.audit import AuditReport, audit
from station.cloud.http import HttpCloud
from station.faults import fault
from station.floor import Floor, MakeOutbox
from station.history import Reader
from station.jobs import LedgerError
from station.jobs.receipts import receipt_problem
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.line import Line
from station.outbox import Outbox
from station.plan import Plan
from station.root import load_root
from station.steps import LEAF_ERRORS, classify
from station.voice import Voice
from trust.root import TrustedRoot
from trust.signed_note import NoteKey


@asynccontextmanager
async def open_floor(plan: Plan, slot_names: tuple[str, ...] = ()) -> AsyncIterator[Floor]:
    """The floor for one batch: parties connected, order imported, log published at the end."""
    slots = [SerialSlot(config) for config in plan.chosen(slot_names)]
    enough_disk(plan.paths.database.parent, plan.config.limits.disk_reserve_mb)
    async with AsyncExitStack() as stack:
        stack.enter_context(alone_with(plan.paths.database))
        signer, cloud = SignerClient(plan.paths.signer_socket), open_cloud(plan.config, plan.root)
        store = open_store(plan)
        for party in (signer, cloud, store):
            stack.push_async_callback(party.close)
        await admit_order(plan, signer, store)
        voice = Voice()
        line = Line(
            station=plan.config.station.name,
            root=plan.root,
            order=plan.order,
            work=plan.work,
            jobs=store,
            signer=signer,
            cloud=cloud,
            indicators=NoIndicators(),
            emit=voice.say,
            max_attempts=plan.config.limits.max_attempts,
            generation_timeout_s=plan.config.limits.generation_timeout_s,
        )
        yield Floor(line, slots, outbox_maker(line, store, stamp_of(plan.config, plan.root)), voice)
        await publish(plan, signer, store)


def outbox_maker(line: Line, store: JobStore, stamp: Stamp) -> MakeOutbox:
    """Sends what the registry has not acknowledged, judging receipts as the flow does."""

    def make(broken: Callable[[LedgerError], None]) -> Outbox:
        return Outbox(
            store,
            line.cloud,
            verify_receipt=lambda item, receipt: receipt_problem(line.root, item.kind, item.envelope, receipt),
            order_of=store.order,
            stamp=stamp,
            broken=broken,
            in_work=line.in_work.__contains__,
        )

    return make


async def admit_order(plan: Plan, signer: SignerClient, store: JobStore) -> SignerStatus:
    """The signer is the root's and knows the order; the order is in the log."""
    try:
        status = await signer.status()
        check_signer(plan.config, plan.root, status)
        await signer.import_order(plan.order)
        await store.keep_order(plan.order)
    except LEAF_ERRORS as error:
        raise classify(error) from error
    return status


def check_signer(config: settings.Config, root: TrustedRoot, status: SignerStatus) -> None:
    """Environment, root and every key are those of the trust root."""
    name = config.station.name
    keys = root.root.station(name)
    wanted = (name, config.station.environment, root.sha256)
    if (status.name, status.environment, status.root_sha256) != wanted:
        raise fault(
            "setup", f"the signer serves {status.name}/{status.environment} under root {status.root_sha256[:16]}…"
        )
    differing = [purpose for purpose in keys.__struct_fields__ if status.keys.get(purpose) != getattr(keys, purpose)]
    if differing:
        raise fault("setup", f"the signer's keys are not the trust root's: {', '.join(differing)}")


async def publish(plan: Plan, signer: SignerClient, store: JobStore) -> None:
    """Have the log's head signed."""

    async def sign(head: Head) -> str:
        request = CheckpointRequest(
            origin=head.origin, size=head.size, root_hash=head.root_hash, old_size=head.old_size, proof=head.proof
        )
        return await signer.sign_checkpoint(request)

    try:
        await store.publish(log_key(plan.root, plan.config.station.name), sign)
    except (*LEAF_ERRORS, PublishError) as error:
        raise classify(error) from error


def log_key(root: TrustedRoot, station: str) -> NoteKey:
    """The station's log key by its origin."""
    return NoteKey(root.root.log_origin(station), root.root.station(station).log)


def open_store(plan: Plan) -> JobStore:
    """The station's database, made if this is the station's first start."""
    plan.paths.database.parent.mkdir(parents=True, exist_ok=True)
    stamp = Stamp(
        station=plan.config.station.name, environment=plan.config.station.environment, root_sha256=plan.root.sha256
    )
    try:
        return JobStore(open_database(plan.paths.database, create=True), stamp)
    except StoreError as error:
        raise fault("ledger-failed", str(error)) from error


def read_store(config: settings.Config, paths: settings.Paths, root: TrustedRoot) -> JobStore:
    """The station's database, for reading only."""
    try:
        return JobStore(open_database(paths.database, read_only=True), stamp_of(config, root))
    except StoreError as error:
        raise fault("setup", str(error)) from error


@asynccontextmanager
async def reading_ledger(config_file: Path) -> AsyncIterator[JobStore]:
    """The ledger alone, for reading only."""
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
    store, cloud = read_store(config, paths, root), open_cloud(config, root)
    try:
        yield Reader(root=root, jobs=store, cloud=cloud)
    finally:
        await cloud.close()
        await store.close()


def stamp_of(config: settings.Config, root: TrustedRoot) -> Stamp:
    """What every event of this station carries."""
    return Stamp(station=config.station.name, environment=config.station.environment, root_sha256=root.sha256)


def open_cloud(config: settings.Config, root: TrustedRoot) -> HttpCloud:
    """The registry at the root's address, trusted by the root's TLS certificate only."""
    try:
        return HttpCloud(
            root.root.registry_url,
            root.root.tls_root,
            timeout_s=config.registry.timeout_s,
            proxy=config.registry.proxy or None,
        )
    except ValueError as error:
        raise fault("setup", f"trust root: {error}") from error


def audit_ledger(config_file: Path) -> AuditReport:
    """Recompute the station's whole ledger, read-only."""
    config, paths = settings.load(config_file)
    root = load_root(paths.root)
    try:
        engine = open_database(paths.database, read_only=True)
    except StoreError as error:
        raise fault("setup", str(error)) from error
    try:
        return audit(engine, root, config.station.name)
    finally:
        engine.dispose()


def enough_disk(directory: Path, reserve_mb: int) -> None:
    """Refuse to begin below the reserve: units in work must be able to finish."""
    place = next(path for path in (directory, *directory.parents) if path.exists())
    free_mb = shutil.disk_usage(place).free // 1_000_000
    if free_mb < reserve_mb:
        raise fault("ledger-failed", f"{free_mb} MB free at {place}, the reserve is {reserve_mb} MB")
