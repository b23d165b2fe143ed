"""What a batch promises before its first unit: by order, and by what the slots' families can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from fixtures.device import Service
from fixtures.slot import SlotConfig
from station import promised as module
from station.cli.views import proof_lines
from station.disposition import Disposition
from station.faults import Fault
from station.promised import Proof, promised
from tests.trust import orders

ORDER = orders.make("00" * 32, ("st-01",), "ab" * 32)


def slot(name: str, family: str = "smp") -> SlotConfig:
    return SlotConfig(
        name=name, family=family, port=f"/dev/{name}", baud=115200, power="", emulated=True, dtr=None, rts=None
    )


@pytest.fixture(autouse=True)
def families() -> Iterator[None]:
    """A second family, which cannot tunnel."""
    can: dict[str, frozenset[Service]] = {"smp": frozenset(Service), "mute": frozenset()}
    with mock.patch.object(module, "tunnels", lambda config: can[config.family]):
        yield


@pytest.mark.parametrize(
    ("changes", "proofs"),
    [
        ({}, ("not-asked", "not-asked")),
        ({"handshakes": ("udp",), "handshake_waivers": ("no-tunnel",)}, ("handshake-udp", "no-tunnel")),
    ],
)
def test_each_slot_by_its_family(changes: dict[str, Any], proofs: tuple[Proof, ...]) -> None:
    assert promised(orders.changed(ORDER, **changes), [slot("1"), slot("2", "mute")]) == proofs


@pytest.mark.parametrize("waivers", [(), ("service-away",)])
def test_a_handshake_that_cannot_be_stops_the_batch_before_it_begins(waivers: tuple[str, ...]) -> None:
    work = orders.changed(ORDER, handshakes=("udp",), handshake_waivers=waivers)
    with pytest.raises(Fault, match="slot 2 cannot tunnel") as caught:
        promised(work, [slot("1"), slot("2", "mute")])
    assert caught.value.row.disposition is Disposition.SETUP
    assert promised(work, [slot("1")]) == ("handshake-udp",)


def test_what_people_read() -> None:
    assert proof_lines(("1", "2"), ("handshake-tcp", "handshake-tcp")) == (
        "proof: a live handshake of each unit with the cloud, over tcp",
    )
    away = proof_lines(("1",), ("handshake-udp",), ("service-away", "no-tunnel"))
    assert away == (
        "proof: a live handshake of each unit with the cloud, over udp; if the device service is away: none (service-away)",
    )
    assert "away" not in proof_lines(("1",), ("handshake-udp",), ("no-tunnel",))[0], "the service may not be away then"
    assert "away" not in proof_lines(("1",), ("no-tunnel",), ("service-away", "no-tunnel"))[0]
    first, second = proof_lines(("1", "2", "3"), ("handshake-udp", "no-tunnel", "handshake-udp"))
    assert first.startswith("proof: 1, 3: a live handshake")
    assert second.startswith("proof: 2: no handshake: the device family cannot tunnel")
