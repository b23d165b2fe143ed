"""Soft lockout: guesses are bounded for each user, whoever makes them, and the person still gets in from known places."""

from __future__ import annotations

import random
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from registry.access.caller import Role
from registry.access.denied import DeniedError
from registry.database import Database
from registry.people import throttle
from registry.people.accounts import CONSOLE
from registry.people.sessions import Presented, Sessions
from registry.people.throttle import FREE, KNOWN_MOST, KNOWN_PLACES, STRANGERS, STRANGERS_MOST, Try
from tests.registry.people.crew import AWAY, HOME, START, Crew, Member
from tests.registry.people.guessing import ADDRESSES, Campaign

NOW = int(START.timestamp())


def used(database: Database, origin: str, *, until: int) -> tuple[int, int]:
    """Tries as often as possible until then: how many were evaluated, and what the last refusal says."""
    at, evaluated, told = NOW, 0, 0
    while at < until:
        try:
            throttle.begin(database, Try("u", origin), at)
            evaluated += 1
        except DeniedError as error:
            told = int(dict(error.headers)["retry-after"])
            at += told
    return evaluated, told


def test_a_few_are_free_then_one_waits_longer_each_time() -> None:
    waits = [throttle.wait_after(each) for each in range(1, 20)]
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1 :] == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600]


@pytest.mark.both_databases
def test_in_a_row_there_are_never_more_than_a_hundred(database: Database) -> None:
    """However long it takes: what strangers have, and what each known place has (SP 800-63B-4 §3.2.2)."""
    year = NOW + 366 * 86_400
    with database.write() as connection:
        throttle.succeeded(connection, Try("u", STRANGERS), tuple(f"place {each}" for each in range(9)), NOW)
    places = [STRANGERS, *(f"place {each}" for each in range(9))]
    with database.read() as connection:
        known = [each for each in places[1:] if throttle.which(connection, "u", (each,)) == each]
    assert len(known) == KNOWN_PLACES
    counts = {origin: used(database, origin, until=year)[0] for origin in (STRANGERS, *known)}
    assert counts == {STRANGERS: STRANGERS_MOST, **dict.fromkeys(known, KNOWN_MOST)}
    assert sum(counts.values()) == 100


def test_signing_in_gives_strangers_nothing_at_once(database: Database) -> None:
    """A day of guesses with the person signing in every hour: about one an hour more, and no handful each time."""
    evaluated = 0
    for hour in range(24):
        begun = NOW + hour * 3600
        for second in range(begun, begun + 3600, 30):
            with suppress(DeniedError):
                throttle.begin(database, Try("u", STRANGERS), second)
                evaluated += 1
        with database.write() as connection:
            throttle.succeeded(connection, Try("u", "home"), ("home",), begun + 3599)
    assert 24 < evaluated < 36


@pytest.mark.both_databases
def test_a_burst_from_many_processes_is_counted(database: Database) -> None:
    """Each with connections of its own; nothing is shared but the database."""
    url = database.engine.url.render_as_string(hide_password=False)
    others = [Database.open(url) for _ in range(4)]

    def tried(number: int) -> bool:
        try:
            throttle.begin(others[number % 4], Try("u", STRANGERS), NOW)
        except DeniedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(tried, range(80))) == FREE
    for each in others:
        each.close()


def fail(crew: Crew, member: Member, *, address: str, times: int, device: str = "") -> list[int]:
    found = []
    for _ in range(times):
        with pytest.raises(DeniedError) as caught:
            crew.sessions.open(member.shown(address=address, password="not this password", device=device))
        found.append(caught.value.status)
    return found


def test_an_outsider_locks_nobody_out_of_where_he_signs_in(crew: Crew) -> None:
    member = crew.member()
    crew.sign_in(member)
    assert fail(crew, member, address=AWAY, times=7) == [401] * FREE + [429] * 2
    crew.sign_in(member, HOME)
    member.device = ""
    crew.sign_in(member, HOME)  # by the address alone
    assert fail(crew, member, address=AWAY, times=2) == [401, 429]
    with pytest.raises(DeniedError) as caught:  # from a new place he waits, as anybody does
        crew.sessions.open(member.shown(address="203.0.113.1", device="", code=member.code(steps=1)))
    assert caught.value.status == 429


def test_who_shares_the_address_locks_nobody_out_of_his_device(crew: Crew) -> None:
    """Behind one proxy all have one address: the device's own token tells them apart."""
    member = crew.member()
    crew.sign_in(member)
    assert 429 in fail(crew, member, address=HOME, times=KNOWN_MOST)
    crew.sign_in(member, HOME)


def test_a_device_token_is_its_users_and_cannot_be_chosen(crew: Crew) -> None:
    member, other = crew.member(), crew.member()
    crew.sign_in(member)
    crew.clock.ahead(30)
    opened = crew.sessions.open(other.shown(device=member.device))
    assert opened.device != member.device
    assert crew.sessions.open(crew.member().shown(device="1")).device != "1"


def test_an_address_that_hides_all_clients_is_nobodys_place(crew: Crew, database: Database) -> None:
    """Behind a balancer that hides addresses an outsider's guesses come from where the person signs in.

    They are strangers' tries, then: with a device's token the person gets in all the same, and without one after a while.
    """

    def waits(addresses: bool) -> int:
        """What the person without a device's token is told after ten guesses, an hour between them; 0: is in."""
        crew.sessions = Sessions(database, crew.passwords, crew.tokens, addresses=addresses, now=crew.clock)
        member = crew.member()
        crew.sign_in(member, HOME)
        for _ in range(KNOWN_MOST):
            crew.clock.ahead(3_700)
            assert fail(crew, member, address=HOME, times=1) == [401]
        crew.clock.ahead(3_700)
        crew.sessions.open(member.shown(address="203.0.113.1"))  # with the token, from anywhere
        crew.clock.ahead(30)
        try:
            crew.sessions.open(member.shown(address=HOME, device=""))
        except DeniedError as error:
            return int(dict(error.headers)["retry-after"])
        return 0

    assert waits(addresses=False) == 0


def test_control_where_addresses_are_taken_for_places_ten_guesses_lock_whoever_shares_one(crew: Crew) -> None:
    member = crew.member()
    crew.sign_in(member, HOME)
    for _ in range(KNOWN_MOST):
        crew.clock.ahead(3_700)
        assert fail(crew, member, address=HOME, times=1) == [401]
    crew.clock.ahead(3_700)
    with pytest.raises(DeniedError) as caught:
        crew.sessions.open(member.shown(address=HOME, device=""))
    assert dict(caught.value.headers)["retry-after"] == "86400"


def test_an_id_that_is_nobodys_is_answered_as_a_persons(crew: Crew, database: Database) -> None:
    """Whatever was tried before, at this id or at others; and rows of such ids are bounded."""
    real, nobody = crew.member().user_id, secrets.token_hex(16)

    def told(user_id: str) -> int:
        try:
            crew.sessions.open(Presented(user_id=user_id, password="x" * 15, code="000000", address=AWAY))
        except DeniedError as error:
            return error.status
        return 200

    others = {throttle.shadow_of(secrets.token_hex(16)) for _ in range(300)}
    assert len(others) == 300, "no two share a row"
    for other in [secrets.token_hex(16) for _ in range(20)]:
        assert [told(other) for _ in range(6)] == [401] * FREE + [429]
    crew.clock.ahead(1)
    assert [told(nobody) for _ in range(7)] == [told(real) for _ in range(7)] == [401] * FREE + [429] * 2
    with database.write() as connection:
        assert throttle.sweep_shadows(connection, 1) == 20
        assert throttle.sweep_shadows(connection, 1) == 0
    assert told(nobody) == told(real) == 429, "the newest one, and the user's"


def test_an_administrator_lifts_a_lock_at_once(crew: Crew) -> None:
    member = crew.member()
    fail(crew, member, address=AWAY, times=6)
    crew.accounts.enable(member.user_id, CONSOLE)
    crew.sign_in(member, AWAY)


def test_addresses_are_networks_where_hosts_change(crew: Crew) -> None:
    same = {throttle.place_of("u", each) for each in ("2001:db8::1", "2001:db8::ffff:1")}
    assert len(same) == 1
    assert throttle.place_of("u", "192.0.2.1") != throttle.place_of("u", "192.0.2.2")
    assert throttle.place_of("u", "192.0.2.1") != throttle.place_of("v", "192.0.2.1")
    assert throttle.place_of("u", "no address")


def test_guesses_from_fifty_addresses(crew: Crew) -> None:
    """A slice of the campaign below."""
    campaign = Campaign.make(crew, seed=7)
    campaign.run(700, rounds=3)
    campaign.require_bounded()


def test_control_without_the_bound_a_user_is_guessed_at_without_end(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "begin", lambda *_: None)
    monkeypatch.setattr(throttle, "require_may", lambda *_: None)
    campaign = Campaign.make(crew, seed=7)
    campaign.run(500, rounds=1)
    with pytest.raises(AssertionError, match="evaluated"):
        campaign.require_bounded()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_hundred_thousand_guesses_from_fifty_addresses(crew: Crew) -> None:
    campaign = Campaign.make(crew, seed=random.SystemRandom().randrange(2**32))
    print(f"seed {campaign.seed}")
    campaign.run(100_000)
    campaign.require_bounded()
    print(campaign)


def test_the_campaign_is_as_wide_as_it_says() -> None:
    assert len(set(ADDRESSES)) == 50
    assert HOME not in ADDRESSES
    assert {each.value for each in Role} >= {"operator", "administrator"}
