"""The primary is killed under load and its synchronous standby promoted, again and again: nothing acknowledged is lost.

The registry's processes stay up: their connections find the new primary by themselves. Negative control: the same with
a primary that does not wait for its standby, which is cut off a moment before: what was acknowledged then must be found
lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import schema
from registry.database import Database
from tests.registry.fleet import make_fleet, running
from tests.registry.load import Load, NoAnswerError, judge, line_of, pin_body
from tests.registry.make import Device
from tests.registry.replicas import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair.make(on_disk=True)
    yield made
    made.remove()


def migrated(pair: Pair) -> str:
    """A database with this version's schema: its URL."""
    url = pair.url(pair.primary.empty())
    database = Database.open(url)
    schema.upgrade(database)
    database.close()
    return url


def progress(load: Load, more: int) -> float:
    """Seconds until so many more pins were acknowledged."""
    began, wanted = time.monotonic(), len(load.told.receipts) + more
    while len(load.told.receipts) < wanted:
        assert not load.told.violations, load.told.violations
        assert time.monotonic() - began < 120, "no pin is acknowledged any more"
        time.sleep(0.01)
    return time.monotonic() - began


def campaign(pair: Pair, place: Path, *, times: int, clients: int) -> str:
    url, gaps, began = migrated(pair), [], time.monotonic()
    with running(make_fleet(place, url, 2, stations=clients, quantity=200_000)) as fleet:
        load = Load(fleet, clients)
        load.start()
        for _ in range(times):
            progress(load, random.randrange(50, 150))
            killed = time.monotonic()
            pair.fail_over()
            pair.attach()
            progress(load, 1)
            gaps.append(time.monotonic() - killed)
        progress(load, 50)
        load.stop()
    assert judge(url, load.told) == []
    return (
        f"failovers: {times}, acknowledged pins {len(load.told.receipts)}, 0 lost, 0 doubled; from the kill to the next "
        f"acknowledgement at most {max(gaps):.1f} s, the new standby's making included; {time.monotonic() - began:.0f} s"
    )


@pytest.mark.timeout(180)
def test_one_failover(pair: Pair, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("figures", campaign(pair, tmp_path, times=1, clients=8))


@pytest.mark.timeout(120)
def test_without_its_only_standby_nothing_is_acknowledged(pair: Pair, tmp_path: Path) -> None:
    """And nobody is kept waiting for ever: who asks is told that the store failed. With the standby back, it goes on."""
    url = migrated(pair)
    with running(make_fleet(tmp_path, url, 1, stations=12, quantity=10_000)) as fleet:
        load = Load(fleet, 12)
        load.start()
        progress(load, 20)
        assert pair.standby is not None
        pair.standby.end()
        time.sleep(2.0)  # what was on its way is answered, or waits
        before = len(load.told.receipts)
        asking = line_of(fleet, "station-01")
        device, began = Device(), time.monotonic()
        with pytest.raises(NoAnswerError, match=r"store-failed|timed out"):
            asking.put(f"/v1/pins/{device.device_id}", pin_body(fleet, "station-01", device))
        # A token and the pin may each wait for a thread, a connection and a commit: some 20 s in all.
        assert time.monotonic() - began < 40
        assert len(load.told.receipts) == before
        pair.standby.start()
        progress(load, 20)
        load.stop()
    assert judge(url, load.told) == []


@pytest.mark.soak
def test_ten_failovers(pair: Pair, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("figures", campaign(pair, tmp_path, times=10, clients=32))


@pytest.mark.timeout(180)
def test_control_a_primary_that_does_not_wait_loses_what_it_acknowledged(tmp_path: Path) -> None:
    pair = Pair.make(on_disk=True, synchronous=False)
    try:
        url = migrated(pair)
        with running(make_fleet(tmp_path, url, 1, stations=4, quantity=10_000)) as fleet:
            load = Load(fleet, 4)
            load.start()
            progress(load, 20)
            pair.pause_receiving()
            progress(load, 20)
            pair.fail_over()
            progress(load, 5)
            load.stop()
        assert any("are lost" in each for each in judge(url, load.told))
    finally:
        pair.remove()
