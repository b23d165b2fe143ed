"""How long the station's writes wait while somebody audits its ledger. Prints the figures.

`python tests/bench/audit_beside.py [UNITS]`: a ledger of UNITS units (8 leaves each, all of it signed for real), a
process that writes events without a pause through the station's own ledger thread, and an audit beside it. The control
audits the file itself under one read transaction, as it must not be done.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger import engine as ledger_engine
from ledger.engine import Engine
from station.audit import audit
from station.jobs import LedgerError, RecordKind
from station.jobs.schema import open_copy, open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.registry.make import World, world
from tests.station import ledgerkit as kit


async def fill(path: Path, made: World, units: int) -> None:
    store = kit.store_at(path, made)
    await store.keep_order(made.order_envelope)
    for _ in range(units):
        await kit.bring_to(store, made, RecordKind.COMPLETION_RECEIPT)
    await kit.publish(store, made)
    await store.close()


def write_on(path: Path, root_sha256: str, parent: Connection) -> None:
    """Another process: an event after the other until told to stop; sends back how long each took."""
    asyncio.run(_write_on(path, Stamp(station=kit.STATION, environment="demo", root_sha256=root_sha256), parent))


async def _write_on(path: Path, stamp: Stamp, parent: Connection) -> None:
    store = JobStore(open_database(path), stamp)
    waits, refused = [], 0
    parent.send("ready")
    while not parent.poll():
        began = time.monotonic()
        try:
            await store.note(stamp.event("station-started"))
        except LedgerError:
            refused += 1
        waits.append(time.monotonic() - began)
    await store.close()
    parent.send((waits, refused))


def beside(path: Path, made: World, open_it: Callable[[Path], Engine]) -> tuple[float, list[float], int]:
    """Seconds that the audit took, what each write took meanwhile, and how many were refused."""
    here, there = multiprocessing.Pipe()
    writer = multiprocessing.get_context("spawn").Process(target=write_on, args=(path, made.trusted.sha256, there))
    writer.start()
    here.recv()
    time.sleep(0.5)
    began = time.monotonic()
    engine = open_it(path)
    report = audit(engine, made.trusted, kit.STATION)
    engine.dispose()
    took = time.monotonic() - began
    here.send("stop")
    waits, refused = here.recv()
    writer.join()
    assert report.findings == (), report.findings[:3]
    return took, waits, refused


def main(units: int = 2600) -> None:
    made = world(quantity=units)
    with tempfile.TemporaryDirectory() as name:
        path, durable = Path(name) / "ledger.db", ledger_engine.durability
        ledger_engine.durability = lambda _: ("truncate", 0)  # while it is filled
        asyncio.run(fill(path, made, units))
        ledger_engine.durability = durable
        (leaves,) = kit.rows(path, "SELECT count(*) FROM leaves")[0]
        sys.stdout.write(f"{leaves} leaves, {path.stat().st_size / 1e6:.0f} MB\n")
        ways = {"a copy": open_copy, "control: the file itself": lambda file: open_database(file, read_only=True)}
        for what, open_it in ways.items():
            took, waits, refused = beside(path, made, open_it)
            sys.stdout.write(
                f"{what}: audit {took:.1f} s; {len(waits)} writes beside it, longest {max(waits) * 1000:.0f} ms, "
                f"p50 {statistics.median(waits) * 1000:.1f} ms, {refused} refused\n"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
