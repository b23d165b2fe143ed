"""What the live handshake adds to a unit, its wire apart: orders with it and without it, in turns. Soak only."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station.events import HandshakeWent
from tests.cli.plant import Site, running_site
from tests.cli.test_batch import events, finished, run

UNITS = 24
TARGET_S = 0.05


@pytest.fixture(scope="module")
def bare() -> Iterator[Site]:
    """A plant whose units nobody else needs."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name, running_site(Path(name).resolve(), devices=UNITS) as site:
        yield site


@pytest.mark.soak
def test_milliseconds_a_unit(bare: Site, record_property: Callable[[str, object], None]) -> None:
    """Medians; what unit and wire take is told by the events, and taken off."""
    took: dict[bool, list[float]] = {True: [], False: []}
    apart: list[tuple[float, float]] = []
    for number, slot in enumerate(bare.slots):
        meets = number % 2 == 0
        order, wanted = ("with", '["udp"]') if meets else ("without", "[]")
        done = run(bare, order, "--slots", slot, "--jsonl", handshakes=wanted)
        (unit,) = finished(done)
        assert unit.verdict.value == "PASS", done
        took[meets].append(unit.seconds)
        apart += [
            (each.unit_seconds, each.cloud_seconds)
            for each in events(done)
            if isinstance(each, HandshakeWent) and each.outcome
        ]
    unit_s, cloud_s = (statistics.median(each) for each in zip(*apart, strict=True))
    added = statistics.median(took[True]) - statistics.median(took[False])
    ours = added - unit_s
    text = (
        f"{UNITS // 2} EC units each: {1_000 * added:.0f} ms added; unit and its wire {1_000 * unit_s:.0f}, relay and service "
        f"{1_000 * cloud_s:.0f}; station, relay and service together {1_000 * ours:.0f} (target {1_000 * TARGET_S:.0f})"
    )
    record_property("figures", text)
