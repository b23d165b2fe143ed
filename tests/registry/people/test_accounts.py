"""Users are random ids; acts on them are rows more, and end what the user held."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from registry.access.caller import Role, Scope
from registry.access.denied import DeniedError
from registry.database import Database
from registry.errors import RefusedError
from registry.people import accounts, store
from registry.people.accounts import CONSOLE
from registry.people.passwords import LONGEST, SHORTEST, require_good
from tests.registry.people.crew import Crew
from trust.codes import Code
from trust.verifier import badge_hash

BOSS = "ff" * 16


def refused(do: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        do()
    return caught.value


def test_a_user_is_a_random_id_and_nothing_of_the_person(crew: Crew, database: Database) -> None:
    made = [crew.accounts.add(Role.OPERATOR, CONSOLE) for _ in range(3)]
    assert len({each.user_id for each in made} | {each.password for each in made}) == 6
    assert all(len(each.user_id) == 32 for each in made)
    assert made[0].enrolment.startswith("otpauth://totp/demo%20registry-01:" + made[0].user_id)
    with database.read() as connection:
        text = str([tuple(row) for row in connection.exec_driver_sql("SELECT * FROM credentials")])
    assert all(each.password not in text for each in made)


@pytest.mark.both_databases
def test_what_became_of_a_user_is_on_record(crew: Crew) -> None:
    member = crew.member()
    crew.accounts.set_role(member.user_id, Role.LEAD, BOSS)
    crew.accounts.set_role(member.user_id, Role.LEAD, BOSS)
    crew.accounts.disable(member.user_id, BOSS)
    crew.accounts.enable(member.user_id, BOSS)
    crew.accounts.enable(member.user_id, BOSS)
    told = [(each.what, each.role, each.enabled, each.by_whom) for each in crew.accounts.history(member.user_id)]
    assert told == [
        ("added", Role.OPERATOR, True, CONSOLE), ("role", Role.LEAD, True, BOSS), ("disabled", Role.LEAD, False, BOSS),
        ("enabled", Role.LEAD, True, BOSS),
    ]  # fmt: skip
    assert [each.user_id for each in crew.accounts.all()] == [member.user_id]
    assert crew.accounts.all()[0].number == 4


@pytest.mark.both_databases
@pytest.mark.parametrize("act", ["role", "disable", "reset", "password"])
def test_an_act_ends_sessions_and_api_tokens(crew: Crew, act: str) -> None:
    member = crew.member()
    session = crew.sign_in(member).session.token
    api = crew.tokens.issue(member.user_id, "report", frozenset({Scope.PINS_READ}), timedelta(days=1)).token
    assert crew.tokens.caller(session)
    assert crew.tokens.caller(api)
    do = {
        "role": lambda: crew.accounts.set_role(member.user_id, Role.SUPPORT, BOSS),
        "disable": lambda: crew.accounts.disable(member.user_id, BOSS),
        "reset": lambda: crew.accounts.reset(member.user_id, BOSS),
        "password": lambda: crew.accounts.set_password(member.user_id, "a longer one of my own"),
    }
    do[act]()
    assert crew.tokens.caller(session) is None
    assert crew.tokens.caller(api) is None


def test_a_new_badge_ends_nothing(crew: Crew) -> None:
    member = crew.member()
    session = crew.sign_in(member).session.token
    crew.accounts.set_badge(member.user_id, "04A2B3C4", BOSS)
    assert crew.tokens.caller(session)


def test_after_a_reset_only_the_new_secrets_hold(crew: Crew) -> None:
    member = crew.member()
    crew.sign_in(member)
    made = crew.accounts.reset(member.user_id, BOSS)
    crew.clock.ahead(30)
    with pytest.raises(DeniedError):
        crew.sessions.open(member.shown())
    member.password, member.enrolment = made.password, made.enrolment
    crew.sign_in(member)


def test_a_password_of_ones_own_holds_here_and_on_the_floor(crew: Crew, database: Database) -> None:
    member = crew.member()
    crew.accounts.set_password(member.user_id, "ein längeres Kennwort")
    member.password = "ein la\u0308ngeres Kennwort"  # as another keyboard writes it
    crew.sign_in(member)
    with database.read() as connection:
        kept = store.find_credentials(connection, member.user_id)
    assert kept is not None
    assert kept.password != kept.floor_password


@pytest.mark.parametrize(
    "password",
    [
        "",
        "short",
        "x" * (SHORTEST - 1),
        "a" * 40,
        "1212121212121212",
        "My Password is long",
        "ab" * 16 + " and more",
        "abcdef " * 30,
    ],
)
def test_a_weak_password_is_refused_with_what_it_lacks(password: str) -> None:
    assert refused(lambda: require_good(password, "ab" * 16)).code is Code.PASSWORD_WEAK


@pytest.mark.parametrize(
    "password", ["four quiet words here", "x1 " * 5 + "unlike", "q" * 60 + "abcdefgh"[: LONGEST - 60]]
)
def test_length_is_what_counts(password: str) -> None:
    require_good(password, "ab" * 16)


@pytest.mark.both_databases
def test_a_badge_is_one_users(crew: Crew, database: Database) -> None:
    first, second = crew.member(), crew.member()
    crew.accounts.set_badge(first.user_id, "04A2B3C4", BOSS)
    assert refused(lambda: crew.accounts.set_badge(second.user_id, "04A2B3C4", BOSS)).code is Code.USER_CONFLICT
    with database.read() as connection:
        kept = store.find_credentials(connection, first.user_id)
    assert kept is not None
    assert kept.badge == badge_hash("04A2B3C4", crew.accounts.badge_salt())
    crew.accounts.set_badge(first.user_id, None, BOSS)
    crew.accounts.set_badge(second.user_id, "04A2B3C4", BOSS)


def test_nobody_does_it_to_himself(crew: Crew) -> None:
    boss = crew.member(Role.ADMINISTRATOR)
    for do in (
        lambda: crew.accounts.disable(boss.user_id, boss.user_id),
        lambda: crew.accounts.set_role(boss.user_id, Role.OPERATOR, boss.user_id),
        lambda: crew.accounts.reset(boss.user_id, boss.user_id),
    ):
        assert refused(do).code is Code.NOT_AUTHORISED


def test_who_is_not_there_is_told_so(crew: Crew) -> None:
    for do in (
        lambda: crew.accounts.disable("ab" * 16, BOSS),
        lambda: crew.accounts.enable("ab" * 16, BOSS),
        lambda: crew.accounts.reset("ab" * 16, BOSS),
        lambda: crew.accounts.set_badge("ab" * 16, "x", BOSS),
        lambda: crew.accounts.history("\x1b[2J"),
    ):
        assert refused(do).code is Code.USER_UNKNOWN


def test_the_roster_has_room_for_so_many(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_PEOPLE", 2)
    first, _ = crew.member(), crew.member(Role.ENGINEER)
    assert refused(lambda: crew.accounts.add(Role.LEAD, CONSOLE)).code is Code.USER_CONFLICT
    other = crew.member(Role.AUDITOR)
    assert refused(lambda: crew.accounts.set_role(other.user_id, Role.LEAD, BOSS)).code is Code.USER_CONFLICT
    crew.accounts.set_role(first.user_id, Role.LEAD, BOSS)
    crew.accounts.disable(first.user_id, BOSS)
    crew.accounts.set_role(other.user_id, Role.LEAD, BOSS)
    assert refused(lambda: crew.accounts.enable(first.user_id, BOSS)).code is Code.USER_CONFLICT


@pytest.mark.both_databases
def test_the_last_step_never_falls(crew: Crew, database: Database) -> None:
    """The database's own rule: no code comes back by whatever is written."""
    member = crew.member()
    crew.sign_in(member)
    for statement in ("UPDATE credentials SET last_step = last_step - 1", "DELETE FROM credentials"):
        with pytest.raises(IntegrityError, match=r"never fall|stay"), database.write() as connection:
            connection.exec_driver_sql(statement)
