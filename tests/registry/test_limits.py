"""How often one client may ask: what is refused, what a line never notices, and how much memory strangers can take."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from registry.access.caller import STATION_SCOPES, Role
from registry.limits.admitted import GOOD_FOR_S, Admitted
from registry.limits.buckets import Buckets, Rate
from registry.limits.rates import ADDRESS, CALLER, Limits, RouteClass
from registry.limits.requests import AddressLimit, too_many
from tests.registry.access import station_of
from tests.registry.cast import Cast, Who
from tests.registry.fuzzing import quick_place
from tests.registry.matrix import opened


@dataclass(slots=True)
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Callable[[], float], **changes: Any) -> Limits:
    return Limits(strangers=Buckets(monotonic=clock), callers=Buckets(monotonic=clock), **changes)


def test_a_burst_then_the_rate_and_what_is_refused_costs_nothing() -> None:
    clock = Clock()
    buckets = Buckets(monotonic=clock)
    rate = Rate(10, 5)
    assert [buckets.take(("a",), rate) for _ in range(5)] == [0.0] * 5
    assert [buckets.take(("a",), rate) for _ in range(3)] == [pytest.approx(0.1)] * 3
    assert buckets.take(("b",), rate) == 0.0, "another client's"
    clock.now += 0.1
    assert buckets.take(("a",), rate) == 0.0
    assert buckets.take(("a",), rate) > 0
    clock.now += 3600
    assert sum(buckets.take(("a",), rate) == 0.0 for _ in range(100)) == 5, "no more at once, however long the pause"


def test_what_is_charged_is_never_more_than_all() -> None:
    clock = Clock()
    buckets, rate = Buckets(monotonic=clock), Rate(10, 5)
    buckets.charge(("a",), rate, 1e9)
    clock.now += 0.5
    assert [buckets.take(("a",), rate) == 0.0 for _ in range(6)] == [True] * 5 + [False]


def grown(capacity: int) -> tuple[int, int]:
    """Clients kept, and bytes, after 300,000 addresses have asked."""
    buckets, rate = Buckets(capacity), Rate(10, 5)
    tracemalloc.start()
    try:
        for number in range(100_000):
            buckets.take((f"10.{number}",), rate)
        return len(buckets), tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_many_addresses_do_not_grow_it() -> None:
    kept, size = grown(16_384)
    assert kept == 16_384
    assert size < 6_000_000
    kept, size = grown(10_000_000)
    assert (kept, size > 10_000_000) == (100_000, True), "control: without the limit it would be seen"


def test_who_is_forgotten_may_ask_and_nobody_makes_us_forget_a_caller() -> None:
    clock = Clock()
    counted = Limits(strangers=Buckets(100, monotonic=clock), callers=Buckets(100, monotonic=clock))
    while counted.caller(RouteClass.WRITE, "station:station-01") == 0.0:
        pass
    for number in range(1000):
        assert counted.address(f"10.0.{number // 256}.{number % 256}") == 0.0
    assert counted.caller(RouteClass.WRITE, "station:station-01") > 0
    assert len(counted.strangers) == 100


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("testclient", "", True),
    ],
)
def test_who_counts_as_one_client(first: str, second: str, one: bool) -> None:
    counted = limits(Clock())
    while counted.address(first) == 0.0:
        pass
    assert (counted.address(second) > 0) is one


# ---- a line

STATIONS, SLOTS, TAKT_S, STEPS = 32, 8, 20.0, 240


def refused(clock: Clock, counted: Limits, hurry: float = 1.0) -> int:
    """Ten minutes at takt behind one address: a unit costs two look-ups, pin and completion; tokens; then a drain of each
    station's outbox after the outage, batch after batch without a pause of its own, with single pins between.
    """
    wrong = 0

    def ask(kind: RouteClass, station: int) -> None:
        nonlocal wrong
        waits = (counted.address("192.0.2.7"), counted.stranger(kind, "192.0.2.7"))
        if kind is not RouteClass.SECRET:
            waits += (counted.caller(kind, f"station:station-{station}"),)
        wrong += any(waits)

    for station in range(STATIONS):  # all start at once: an assertion without a nonce, one with it
        counted.strike("192.0.2.7", RouteClass.SECRET)
        ask(RouteClass.SECRET, station)
        ask(RouteClass.SECRET, station)
    step_s = TAKT_S / SLOTS / hurry
    for step in range(STEPS):
        clock.now += step_s
        for station in range(STATIONS):
            for kind in (RouteClass.READ, RouteClass.READ, RouteClass.WRITE, RouteClass.WRITE):
                ask(kind, station)
            if step % (STEPS // 3) == 0:  # a token again: the nonce is an old one by now
                counted.strike("192.0.2.7", RouteClass.SECRET)
                ask(RouteClass.SECRET, station)
                ask(RouteClass.SECRET, station)
    for _ in range(40):  # 20,000 units a station
        clock.now += 0.25 / hurry  # 500 pins take a registry longer than that
        for station in range(STATIONS):
            ask(RouteClass.BATCH, station)
            ask(RouteClass.WRITE, station)
    return wrong


def test_the_line_never_hits_a_limit() -> None:
    clock = Clock()
    assert refused(clock, limits(clock)) == 0
    assert refused(clock, limits(clock), hurry=50) > 1000, "control: fifty times the takt would be seen"


# ---- as HTTP


async def answers(app: AddressLimit, host: str, count: int) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    found: list[tuple[int, dict[bytes, bytes], bytes]] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    for _ in range(count):
        sent: list[Message] = []

        async def send(message: Message, sent: list[Message] = sent) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "client": (host, 1)}
        await app(scope, receive, send)
        found.append(
            (sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:]))
        )
    return found


def answering(status: int) -> Callable[[Scope, Receive, Send], Any]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(b"{}", status)(scope, receive, send)

    return app


def test_too_many_is_429_with_the_seconds_to_wait() -> None:
    clock = Clock()
    app = AddressLimit(answering(200), limits(clock))
    found = asyncio.run(answers(app, "192.0.2.1", int(ADDRESS.burst) + 1))
    assert [each[0] for each in found] == [200] * int(ADDRESS.burst) + [429]
    _, headers, body = found[-1]
    assert headers[b"retry-after"] == b"1" and headers[b"content-type"] == b"application/json"
    error = json.loads(body)["error"]
    assert (error["code"], error["stored"]) == ("too-many-requests", None) and "in 1 s" in error["message"]
    assert asyncio.run(answers(app, "192.0.2.2", 1))[0][0] == 200
    clock.now += 1.0  # as the answer said
    assert asyncio.run(answers(app, "192.0.2.1", 1))[0][0] == 200


def test_credentials_that_do_not_hold_cost_more() -> None:
    clock = Clock()
    app = AddressLimit(answering(401), limits(clock))
    found = [each[0] for each in asyncio.run(answers(app, "192.0.2.1", 250))]
    assert found.count(401) < 200 and found[-1] == 429, "of 2,000 in order"
    clock.now += 10.0
    found = [each[0] for each in asyncio.run(answers(app, "192.0.2.1", 2000))]
    assert found.count(401) < 200


def test_guesses_at_secrets_cost_most() -> None:
    """An address has 80 wrong assertions or passwords at once, and 4 a second: a person's typing is far below."""
    clock = Clock()
    counted = limits(clock)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = SimpleNamespace(path="/oauth/token")
        wait_s = counted.stranger(RouteClass.SECRET, "192.0.2.1")
        await (too_many(wait_s) if wait_s else Response(b"{}", 400))(scope, receive, send)

    limited = AddressLimit(app, counted, secret={"/oauth/token"})
    found = [each[0] for each in asyncio.run(answers(limited, "192.0.2.1", 300))]
    assert found[:80] == [400] * 80 and set(found[81:]) == {429}
    clock.now += 10.0
    assert [each[0] for each in asyncio.run(answers(limited, "192.0.2.1", 300))].count(400) == 40


def test_one_station_cannot_take_the_others_share() -> None:
    clock = Clock()
    counted = limits(clock)
    taken = sum(counted.caller(RouteClass.WRITE, "station:station-01") == 0.0 for _ in range(10_000))
    assert taken == CALLER[RouteClass.WRITE].burst
    assert counted.caller(RouteClass.WRITE, "station:station-02") == 0.0
    assert counted.caller(RouteClass.READ, "station:station-01") == 0.0


def test_hidden_addresses_are_not_counted() -> None:
    """Behind a balancer that hides them all clients are one, and strangers would use up the line's share."""
    counted = limits(Clock(), addresses=False)
    for _ in range(100):
        counted.strike("10.0.0.1", RouteClass.SECRET)
    assert not any(counted.address("10.0.0.1") + counted.stranger(RouteClass.SECRET, "10.0.0.1") for _ in range(5000))
    assert len(counted.strangers) == 0


@pytest.mark.parametrize("factor", [0.02, 0.0], ids=["limited", "control: limits off"])
def test_a_caller_who_asks_too_often_is_known_at_the_real_door(factor: float) -> None:
    """Real credentials at the application as it is served: one station is told to wait, the other and a person are not."""

    async def ask(client: httpx2.AsyncClient, cast: Cast, who: Who) -> httpx2.Response:
        path = f"/v1/pins/{cast.things[who.station or 'station-01'].pinned.device_id}"
        return await client.get(path, headers=who.headers("GET", path))

    async def run(client: httpx2.AsyncClient, cast: Cast) -> list[httpx2.Response]:
        first, second = (cast.station(name, STATION_SCOPES) for name in ("station-01", "station-02"))
        found: list[httpx2.Response] = []
        while len(found) < 100 and (not found or found[-1].status_code == 200):
            found.append(await ask(client, cast, first))
        return [*found, await ask(client, cast, second), await ask(client, cast, cast.session(Role.AUDITOR))]

    with quick_place() as place, opened(place, factor) as (registry, cast):
        *asked, second, person = asyncio.run(registry.with_client(lambda client: run(client, cast)))
    assert (second.status_code, person.status_code) == (200, 200)
    assert [each.status_code for each in asked[:-1]] == [200] * (len(asked) - 1) and len(asked) > 20
    assert asked[-1].status_code == (429 if factor else 200)
    assert factor == 0.0 or int(asked[-1].headers["retry-after"]) >= 1


FORGED = {"content-type": "application/x-www-form-urlencoded", "authorization": "DPoP " + "A" * 43}


@pytest.mark.parametrize("planted", ["", "assertions are not looked at", "who was let in is forgotten"])
def test_a_stranger_at_the_lines_own_address_stops_no_line(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address has nothing left, ever: a station gets a token and goes on with it, and strangers wait."""

    async def run(client: httpx2.AsyncClient, cast: Cast) -> list[int]:
        station, path = station_of(cast.made), f"/v1/pins/{cast.things['station-01'].pinned.device_id}"
        for _ in range(2):  # without a nonce, and with the one that it was given
            token = await station.post_token(client, station.form(), station.proof("POST", "/oauth/token"))
        station.token = token.json().get("access_token", "none")
        return [
            token.status_code,
            (await client.get(path, headers=station.headers("GET", path))).status_code,
            (await client.get(path, headers=FORGED)).status_code,
            (await client.post("/oauth/token", content=station.form()[:-4], headers=FORGED)).status_code,
        ]

    if "assertions" in planted:
        monkeypatch.setattr("registry.access.client_credentials.ClientCredentials.signed_by", lambda *_: "")
    with quick_place() as place, opened(place, 1.0) as (registry, cast):
        monkeypatch.setattr("registry.limits.rates.Limits.address", lambda *_: 5.0)
        monkeypatch.setattr(
            "registry.limits.rates.Limits.stranger", lambda _, kind, __: 5.0 * (kind is RouteClass.SECRET)
        )
        if "forgotten" in planted:
            monkeypatch.setattr("registry.limits.admitted.Admitted.knows", lambda *_: False)
        *line, stranger, forger = asyncio.run(registry.with_client(lambda client: run(client, cast)))
    assert (stranger, forger) == (429, 429)
    assert line == {
        "": [200, 200], "assertions are not looked at": [429, 429], "who was let in is forgotten": [200, 429]
    }[planted]  # fmt: skip


def test_what_is_remembered_of_who_was_let_in() -> None:
    clock = Clock()
    known = Admitted(2, monotonic=clock)
    for each in ("DPoP a", "DPoP b", "DPoP c"):
        known.remember(each)
    assert [known.knows(f"DPoP {each}") for each in "abc"] == [False, True, True], "the newest, and no more"
    clock.now += GOOD_FOR_S
    assert not known.knows("DPoP c")
