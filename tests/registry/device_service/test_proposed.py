"""Keys that were proposed by Particle's tools: one handshake proves one, and that is all that comes of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from registry.access.caller import PersonCaller, Role
from registry.clock import stamp
from registry.database import Database
from registry.device_service.field.udp_door import UdpDoor
from registry.device_service.pins import RegistryPins
from registry.device_service.proposed import ProposedKeys
from registry.particle.keeping import KeptProposals
from registry.particle.proposing import SOURCE, Proposal
from registry.pins.proposals import Proposals
from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.field_units import UdpDevice, count, udp_door
from tests.registry.device_service.service_end import Service, new_key
from tests.registry.living import Living, living
from tests.registry.make import Device, PrivateKey, ec_key, public

pytestmark = pytest.mark.both_databases
BY = PersonCaller(user_id="ab" * 16, role=Role.ENGINEER, second_factor=False)
TRANSCRIPT = bytes(range(32))


@dataclass(slots=True)
class Site:
    """A registry, its door's book, and who reads it for the device services."""

    living: Living

    @property
    def book(self) -> Proposals:
        return Proposals(self.living.database, now=lambda: self.living.now)

    @property
    def proposed(self) -> ProposedKeys:
        made = self.living
        return ProposedKeys(database=made.database, trusted=made.made.trusted, now=lambda: made.now)

    @property
    def field(self) -> RegistryPins:
        made = self.living
        return RegistryPins(made.database, made.made.trusted, now=lambda: made.now)

    def propose(self, device: Device, key: PrivateKey, by: PersonCaller = BY) -> None:
        kept = KeptProposals(database=self.living.database, acts=self.living.acts, book=self.book)
        assert kept.propose(Proposal(device=device.device_id, key=public(key), by=by, note="cli")) == "proposed"


@pytest.fixture
def site(database: Database) -> Site:
    return Site(living(database))


def test_it_is_known_until_it_is_proved_and_then_no_more(site: Site) -> None:
    device, new = site.living.device(), ec_key()
    assert site.proposed.owner(public(new).spki) is None
    site.propose(device, new)
    site.propose(device, new, replace(BY, user_id="cd" * 16))
    spki = public(new).spki
    assert site.proposed.owner(spki) == device.device_id
    assert site.field.keys_of(device.device_id) == (public(device.key).spki,), "the pin is what it was"
    assert site.field.good(spki) is None
    assert site.proposed.proved(device.device_id, spki, "udp", TRANSCRIPT)
    assert site.proposed.owner(spki) is None
    assert not site.proposed.proved(device.device_id, spki, "udp", TRANSCRIPT)
    assert {each.proved_at for each in site.book.about(device.device_id)} == {stamp(site.living.now)}
    assert site.living.states(device) == ["active"]


def test_one_of_many_at_once_is_the_handshake(site: Site) -> None:
    device, new = site.living.device(), ec_key()
    site.propose(device, new)
    with ThreadPoolExecutor(4) as many:
        told = [
            many.submit(site.proposed.proved, device.device_id, public(new).spki, "udp", TRANSCRIPT) for _ in range(8)
        ]
    assert sorted(each.result() for each in told) == [False] * 7 + [True]


@pytest.mark.parametrize("kind", ["revoke", "scrap"])
def test_a_device_whose_pin_is_good_no_more_proves_nothing(site: Site, kind: str) -> None:
    device, new = site.living.device(), ec_key()
    site.propose(device, new)
    site.living.acts.do(device.device_id, kind, site.living.act(device, kind))  # type: ignore[arg-type]
    assert site.proposed.owner(public(new).spki) is None


def test_what_was_proposed_long_ago_or_otherwise_is_nothing_to_prove(site: Site) -> None:
    device, new, other = site.living.device(), ec_key(), ec_key()
    site.propose(device, new)
    for kind, source in (("repin", "api"), ("revoke", SOURCE)):
        spki = public(other).spki
        site.book.propose(device.device_id, kind, "a reason", proposer="x", source=source, spki=spki)  # type: ignore[arg-type]
    assert site.proposed.owner(public(other).spki) is None
    assert site.proposed.owner(public(new).spki) == device.device_id
    site.living.now += timedelta(days=30, seconds=1)
    assert site.proposed.owner(public(new).spki) is None


def test_a_key_proposed_for_two_devices_names_none(site: Site) -> None:
    one, two, new = site.living.device(), site.living.device(), ec_key()
    for device in (one, two):
        site.propose(device, new)
    assert site.proposed.owner(public(new).spki) is None


def plan_of_a_strangers_key(site: Site) -> list[str]:
    """How the database looks for a key that nobody has proposed."""
    asked: list[tuple[str, Any]] = []
    engine = site.living.database.engine

    def note(_connection: object, _cursor: object, statement: str, words: Any, *_: object) -> None:
        asked.append((statement, words))

    event.listen(engine, "before_cursor_execute", note)
    site.proposed.owner(public(ec_key()).spki)
    event.remove(engine, "before_cursor_execute", note)
    ((statement, words),) = [each for each in asked if "FROM proposals" in each[0]]
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", words)]
        connection.exec_driver_sql("SET enable_seqscan = off")  # with so few rows it would not look at an index
        return [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}", words)]


def test_a_strangers_key_is_looked_up_and_not_searched_for(site: Site) -> None:
    assert "ix_proposals_fingerprint" in "\n".join(plan_of_a_strangers_key(site))


def test_control_without_the_index_all_proposals_are_read(site: Site) -> None:
    with site.living.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_proposals_fingerprint")
    assert "proposals_fingerprint" not in "\n".join(plan_of_a_strangers_key(site))


@pytest.mark.timeout(60)
def test_a_device_in_the_field_proves_it_once_and_can_do_nothing_with_it(site: Site) -> None:
    """Over a real socket: greeted, put on record, and told goodbye; from then on it is nobody's key."""
    device, new = site.living.device(), new_key()
    site.propose(device, new)
    service = Service()

    async def story(port: int, door: UdpDoor) -> None:
        first = UdpDevice(Client(new, retransmit_ms=300), device.device_id.raw, port)
        assert await first.greet()
        for _ in range(50):
            await first.turn()
            if site.book.about(device.device_id)[0].proved_at and not len(door):
                break
        assert site.book.about(device.device_id)[0].proved_at == stamp(site.living.now)
        assert (len(door), door.sessions, count(door.metrics, "udp", "proposal")) == (0, 0, 1)
        assert not await first.ping(0.5), "the session is over"
        again = UdpDevice(Client(new, retransmit_ms=300), device.device_id.raw, port)
        assert not await again.greet()
        pinned = UdpDevice(Client(device.key, retransmit_ms=300), device.device_id.raw, port)  # type: ignore[arg-type]
        assert await pinned.greet() and await pinned.ping()
        assert door.sessions == 1

    async def run() -> None:
        async with udp_door(service.credentials, site.field, proposals=site.proposed) as (door, port):
            await story(port, door)

    asyncio.run(run())


def test_control_without_the_record_it_would_come_in_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProposedKeys, "proved", lambda *_: True)
    device, new = site.living.device(), new_key()
    site.propose(device, new)

    async def run() -> None:
        async with udp_door(Service().credentials, site.field, proposals=site.proposed) as (_, port):
            for _ in range(2):
                again = UdpDevice(Client(new, retransmit_ms=300), device.device_id.raw, port)
                assert await again.greet()

    asyncio.run(run())
