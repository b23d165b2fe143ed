"""Registry processes and single PostgreSQL backends killed with SIGKILL under load: nothing acknowledged is lost.

A backend that is killed takes all others with it: the server starts again from its log. Negative control: the same with
`synchronous_commit = off`, which a registry refuses; with that check planted away the campaign must find pins lost. It
cannot find `fsync = off` out, since the kernel keeps what a dead process has written: that is refused by the check alone.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.registry.fleet import Fleet, make_fleet, running
from tests.registry.load import Load, judge
from tests.registry.postgres import Server

PROCESSES = 2


@pytest.fixture
def server() -> Iterator[Server]:
    """On disk, as one is."""
    made = Server.make(on_disk=True, max_connections="60", wal_buffers="16MB", shared_buffers="128MB")
    try:
        made.start()
        yield made
    finally:
        made.remove()


@dataclass(slots=True)
class Killing:
    """Kills one thing after the other, each time as soon as the load goes on again."""

    fleet: Fleet
    server: Server
    load: Load
    killed: Counter[str] = field(default_factory=Counter)

    def times(self, kills: int, *, apart: int) -> None:
        """So many kills, about so many acknowledged pins apart."""
        while self.killed.total() < kills:
            assert not self.load.told.violations, self.load.told.violations
            kind = ("registry", "backend")[self.killed.total() % 2]
            (self._registry if kind == "registry" else self.backend)()
            self.killed[kind] += 1
            self.progress(random.randrange(apart // 2, apart * 3 // 2))

    def progress(self, more: int) -> None:
        """Return when so many more pins are acknowledged."""
        wanted, end = len(self.load.told.receipts) + more, time.monotonic() + 60
        while len(self.load.told.receipts) < wanted:
            assert time.monotonic() < end, "no pin is acknowledged any more"
            time.sleep(0.01)

    def _registry(self) -> None:
        victim = random.choice(self.fleet.processes)
        victim.end(signal.SIGKILL)
        victim.start()

    def backend(self) -> bool:
        """One that serves a registry; the server kills the others and starts again. False if there was none just now."""
        try:
            found = self.server.sql(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'station-registry' ORDER BY random() LIMIT 1"
            )
        except psycopg.OperationalError:
            return False  # it starts again just now
        if found:
            os.kill(int(str(found[0][0])), signal.SIGKILL)
        return bool(found)


def campaign(server: Server, place: Path, *, kills: int, pins: int, clients: int) -> str:
    """Both numbers reached, then everything is as it was told; what was counted."""
    name = server.migrated()
    began = time.monotonic()
    with running(
        make_fleet(place, server.url(name), PROCESSES, stations=clients, quantity=max(10_000, 8 * pins))
    ) as fleet:
        load = Load(fleet, clients)
        load.start()
        killing = Killing(fleet, server, load)
        killing.times(kills, apart=max(80, pins // kills))
        while len(load.told.receipts) < pins:
            killing.progress(20)
        load.stop()
        took_s = time.monotonic() - began
    told = load.told
    assert judge(fleet.database_url, told) == []
    return (
        f"kills: {dict(killing.killed)}, acknowledged pins {len(told.receipts)}, 0 lost, 0 doubled; requests sent again "
        f"{told.again}, longest wait {max(told.seconds):.1f} s, {took_s:.0f} s"
    )


@pytest.mark.timeout(120)
def test_some_kills(server: Server, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("figures", campaign(server, tmp_path, kills=2, pins=200, clients=8))


@pytest.mark.soak
def test_a_hundred_kills(server: Server, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("figures", campaign(server, tmp_path, kills=100, pins=50_000, clients=32))


@pytest.mark.timeout(120)
def test_control_without_synchronous_commit_pins_are_lost(server: Server, tmp_path: Path) -> None:
    """The registry refuses such a server; one whose check was planted away acknowledges what a crash then takes."""
    name = server.migrated()
    server.sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    server.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")  # what a busy server does in its 0.2 s, for a quiet one
    server.sql("ALTER SYSTEM SET wal_writer_flush_after = '1GB'")
    server.sql("ALTER SYSTEM SET bgwriter_lru_maxpages = 0")  # a page that is written takes its log with it
    server.sql("SELECT pg_reload_conf()")
    refused = make_fleet(tmp_path / "refused", server.url(name), 1)
    refused.processes[0].launch()
    with pytest.raises(AssertionError, match="synchronous_commit"):
        refused.processes[0].wait()
    planted = make_fleet(tmp_path / "planted", server.url(name), 1, stations=4, quantity=10_000, unsafe=True)
    with running(planted):
        load = Load(planted, 4)
        load.start()
        killing = Killing(planted, server, load)
        lost, killed = False, 0
        end = time.monotonic() + 60
        while not lost and time.monotonic() < end:  # what was written out by chance just before is not lost: once more
            killing.progress(30)
            killed += killing.backend()
            killing.progress(5)
            lost = any("are lost" in each for each in judge(planted.database_url, load.told))
        load.stop()
    assert lost, f"{killed} backends were killed"
