"""While passwords are guessed at with all that verifiers cost, stations get tokens and pin, and their people sign in."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import threading
import time
from typing import Any

import httpx2
import pytest

from registry.access.caller import Role
from registry.access.denied import DeniedError
from registry.app import create_app
from registry.database import Database
from registry.people.accounts import CONSOLE
from registry.people.service import People
from registry.people.sessions import Presented
from tests.registry.access import station_of
from tests.registry.make import Device, World
from tests.registry.people.crew import CHEAP, HOME, Clock, Member
from tests.registry.people.guessing import ADDRESSES
from tests.registry.people.served import services_of
from trust.verifier import PASSWORD, Cost

PINS, GUESSERS = 15, 12


def member_of(people: People, clock: Clock) -> Member:
    made = people.accounts.add(Role.OPERATOR, CONSOLE)
    return Member(made.user_id, made.password, made.enrolment, clock)


def guess(people: People, target: Member, stop: threading.Event, seed: int) -> None:
    """As fast as it goes, at a user and at invented ids, from many addresses."""
    dice = random.Random(seed)
    while not stop.is_set():
        invented = f"{dice.getrandbits(128):032x}"
        user = dice.choice([target.user_id, invented, invented, invented])
        shown = Presented(user_id=user, password="correct horse battery", code="000000", address=dice.choice(ADDRESSES))
        try:
            people.sessions.open(shown)
        except DeniedError:
            time.sleep(0.005)  # a guesser's way to the registry and back
        else:
            raise AssertionError("a guess got in")


def test_stations_pin_and_people_sign_in_under_guesses(database: Database, made: World) -> None:
    clock = Clock()
    people = People.over(database, "demo registry-01", cost=PASSWORD, badge_cost=CHEAP, now=clock)
    member = member_of(people, clock)
    clock.ahead(30)
    member.device = people.sessions.open(member.shown(address=HOME)).device
    app = create_app(services_of(database, made, people, made.signer()))
    stop = threading.Event()
    threads = [threading.Thread(target=guess, args=(people, member, stop, each)) for each in range(GUESSERS)]
    for each in threads:
        each.start()
    try:
        statuses = asyncio.run(pin_many(app, made))
        clock.ahead(30)
        people.sessions.open(member.shown(address=HOME))
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert statuses == [200] * PINS


async def pin_many(app: Any, made: World) -> list[int]:
    """A token first, then so many pins, one after the other."""
    station = station_of(made)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
        found = []
        for _ in range(PINS):
            device = Device()
            pin = made.pin(device)
            body = json.dumps({"statement": json.loads(pin.to_json()), "order": json.loads(made.order_envelope.to_json())},
                              separators=(",", ":")).encode()  # fmt: skip
            answer = await station.ask(client, "PUT", f"/v1/pins/{device.device_id}", body)
            found.append(answer.status_code)
        return found


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_an_unknown_user_takes_as_long_as_a_known_one(database: Database) -> None:
    """Medians of interleaved samples; the verifier's cost is small here, so that what differs shows."""
    clock = Clock()
    people = People.over(database, "demo registry-01", cost=Cost(8_192, 1, 1), badge_cost=CHEAP, now=clock)
    member = member_of(people, clock)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(1_000):
        for who, user in (("known", member.user_id), ("unknown", f"{number:032x}")):
            with database.write() as connection:
                connection.exec_driver_sql("DELETE FROM tries")
            shown = member.shown(user_id=user, password="correct horse battery")
            began = time.perf_counter()
            with pytest.raises(DeniedError):
                people.sessions.open(shown)
            took[who].append(time.perf_counter() - began)
    known, unknown = (statistics.median(each) for each in took.values())
    print(f"known {known * 1e3:.2f} ms, unknown {unknown * 1e3:.2f} ms, medians of 1,000")
    assert abs(known - unknown) / known < 0.05
