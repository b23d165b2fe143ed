"""Random values that come a second time, from whichever device: refused and told, by a constraint on both databases."""

from __future__ import annotations

import logging
import os
import random
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from registry.clock import utc_now
from registry.database import Database
from registry.device_service.field.udp_door import UdpDoor
from registry.device_service.seen import SeenRandoms
from registry.device_service.udp.session import Session
from registry.device_service.udp.transcript import Exchanged
from registry.tables import device_randoms
from tests.registry.device_service.dtls_client import Client, text
from tests.registry.device_service.field_units import QUICK_UDP, count
from tests.registry.device_service.relayed import udp_unit
from tests.registry.device_service.service_end import QUICK, Meeting, shaken
from tests.registry.device_service.test_field_udp import Plant
from tests.registry.device_service.test_relay import opened

ALARM = "ALARM: a device used a random value of another handshake: its randomness is poor, or it was played back"


def values(**changes: bytes) -> Exchanged:
    fresh = {"client_random": os.urandom(32), "client_point": os.urandom(65), **changes}
    return Exchanged(**fresh, transcript=os.urandom(32), signature=b"")


def stuck(client: Client, value: bytes) -> Client:
    """A device whose generator gives this again and again."""
    assert client.c.gnutls_handshake_set_random(client.session, text(value)) == 0
    return client


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.part for each in caplog.records if each.msg == ALARM and each.levelno == logging.ERROR]  # type: ignore[attr-defined]


@pytest.mark.both_databases
def test_each_value_is_taken_once_of_all_devices_and_processes(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    here, there, first = SeenRandoms(database), SeenRandoms(database), values()
    assert here.repeated(first) == ""
    assert here.repeated(values()) == there.repeated(values()) == ""
    assert there.repeated(replace(first, client_point=os.urandom(65))) == "client random"
    assert here.repeated(replace(first, client_random=os.urandom(32))) == "ephemeral point"
    assert there.repeated(first) == "client random and ephemeral point"
    assert alarms(caplog) == ["client random", "ephemeral point", "client random and ephemeral point"]
    refused = values(client_random=first.client_random)
    assert here.repeated(refused)
    assert here.repeated(values(client_point=refused.client_point)) == "", "what was refused leaves nothing"


@pytest.mark.both_databases
def test_of_many_at_once_one_is_taken(database: Database) -> None:
    same, found = os.urandom(32), []
    seen = SeenRandoms(database)
    threads = [
        threading.Thread(target=lambda: found.append(seen.repeated(values(client_random=same)))) for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found) == ["", *["client random"] * 5]


def test_they_are_forgotten_after_a_year_and_no_sooner(database: Database) -> None:
    old = values()
    assert SeenRandoms(database, lambda: utc_now() - timedelta(days=400)).repeated(old) == ""
    young = values()
    assert SeenRandoms(database, lambda: utc_now() - timedelta(days=300)).repeated(young) == ""
    seen = SeenRandoms(database)
    assert seen.repeated(values()) == "", "and sweeps"
    assert (seen.repeated(young), seen.repeated(old)) == ("client random and ephemeral point", "")


def test_the_table_holds_no_value_and_no_device(database: Database) -> None:
    given = values()
    SeenRandoms(database).repeated(given)
    with database.read() as connection:
        rows = [dict(each) for each in connection.execute(device_randoms.select()).mappings()]
    assert {each["kind"] for each in rows} == {"client random", "ephemeral point"}
    assert all(len(each["sha256"]) == 32 and set(each) == {"sha256", "kind", "expires_at"} for each in rows)
    assert given.client_random not in [each["sha256"] for each in rows]


@pytest.fixture
def plant() -> Plant:
    return Plant()


def met(plant: Plant, database: Database, randoms: list[bytes], *, guarded: bool = True) -> list[bool]:
    """Whether each of these devices, with its client random, came in."""
    seen = SeenRandoms(database)
    found = []

    async def story(door: UdpDoor, port: int) -> None:
        for number, value in enumerate(randoms, 1):
            device = plant.at(port, number)
            stuck(device.client, value)
            found.append(await device.greet(2))
        assert count(door.metrics, "udp", "repeated") == found.count(False)
        assert door.sessions == len(door) == found.count(True), "nothing is half open"

    quiet = replace(QUICK_UDP, silence_s=30, hello_s=30)
    plant.played(story, times=quiet, repeated=seen.repeated if guarded else lambda _: "")
    return found


def test_a_device_that_repeats_anothers_random_is_refused_at_the_port(
    plant: Plant, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    same = os.urandom(32)
    assert met(plant, database, [same, os.urandom(32), same]) == [True, True, False]
    assert alarms(caplog) == ["client random"]


def test_control_where_nobody_remembers_it_is_let_in(plant: Plant, database: Database) -> None:
    same = os.urandom(32)
    assert met(plant, database, [same, same], guarded=False) == [True, True]


def test_control_without_the_constraint_it_is_let_in(plant: Plant, database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE device_randoms")
        connection.exec_driver_sql("CREATE TABLE device_randoms (sha256 BLOB, kind TEXT, expires_at INTEGER)")
    same = os.urandom(32)
    assert met(plant, database, [same, same]) == [True, True]


def test_the_second_hello_and_what_is_sent_again_are_no_repeats(
    plant: Plant, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Each datagram of a handshake lost once or said twice: one handshake all the same."""
    seen = SeenRandoms(database)
    for seed in range(4):
        client = Client(plant.keys[0], retransmit_ms=60)
        client.step()
        hello = client.outbox.popleft()
        question = plant.service.cookies.question(b"client", hello)
        assert question is not None
        client.inbox.append(question)
        client.step()
        hello = client.outbox.popleft()
        state = plant.service.cookies.verified(b"client", hello)
        session = Session(
            plant.service.credentials, plant.service.pins, cookie=state, timing=QUICK, repeated=seen.repeated
        )
        session.feed(hello)
        session.feed(hello)
        meeting = Meeting(client, session, rule=shaken(random.Random(seed), 0.3, most=3)).run()
        assert meeting.through, meeting.refusal
    assert alarms(caplog) == []


def test_at_a_bench_a_repeat_is_refused_and_leaves_no_report(
    short_dir: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    same = os.urandom(32)
    with opened(short_dir, database) as site:
        found = []
        for _ in range(2):
            device = site.pinned("udp")
            unit = udp_unit(device, site.cloud("udp"))
            stuck(unit.client, same)
            found.append(site.carried("udp", device, unit))
        assert [each["state"] for each in found] == ["done", "refused"]
        assert len(site.keys.reports) == 1
    assert alarms(caplog) == ["client random"]


def test_where_it_cannot_be_looked_up_nobody_is_let_in(plant: Plant, database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE device_randoms")
    seen = SeenRandoms(database)

    async def story(door: UdpDoor, port: int) -> None:
        assert not await plant.at(port).greet(1)
        assert (len(door), count(door.metrics, "udp", "fault")) == (0, 1)

    plant.played(story, repeated=seen.repeated)
