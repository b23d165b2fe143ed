"""Tokens are opaque, hashed, scoped, and over at their time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry.access import guard
from registry.access.caller import Role, Scope
from registry.database import Database
from registry.errors import RefusedError
from registry.people.accounts import CONSOLE
from registry.people.tokens import FRESH, LONGEST, MOST, hashed
from tests.registry.people.crew import Crew
from trust.codes import Code

READ = frozenset({Scope.PINS_READ})
DAY = timedelta(days=1)


def test_a_token_is_nowhere_in_the_database(crew: Crew, database: Database) -> None:
    member = crew.member()
    session = crew.sign_in(member)
    api = crew.tokens.issue(member.user_id, "report", READ, DAY)
    with database.read() as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars().all()
        text = "".join(str([*connection.exec_driver_sql(f"SELECT * FROM {each}")]) for each in names)
    for each in (session.session.token, session.device, api.token):
        assert each not in text
    assert hashed(api.token) in text


def test_an_api_token_has_its_scopes_and_no_second_factor(crew: Crew) -> None:
    member = crew.member(Role.ADMINISTRATOR)
    crew.sign_in(member)
    caller = crew.tokens.caller(crew.tokens.issue(member.user_id, "report", READ, DAY).token)
    assert caller is not None
    assert (caller.role, caller.scopes, caller.second_factor) == (Role.ADMINISTRATOR, READ, False)


def test_each_ends_at_its_time(crew: Crew) -> None:
    member = crew.member()
    session = crew.sign_in(member).session.token
    api = crew.tokens.issue(member.user_id, "report", READ, DAY).token
    crew.clock.ahead(12 * 3600 - 1)
    assert crew.tokens.caller(session)
    crew.clock.ahead(1)
    assert crew.tokens.caller(session) is None
    assert crew.tokens.caller(api)
    crew.clock.ahead(12 * 3600)
    assert crew.tokens.caller(api) is None


def test_a_second_factor_is_fresh_for_as_long_as_the_guard_says(crew: Crew) -> None:
    assert FRESH.total_seconds() == guard._FRESH_S
    member = crew.member()
    session = crew.sign_in(member).session.token
    crew.clock.ahead(300)
    caller = crew.tokens.caller(session)
    assert caller is not None
    assert caller.second_factor
    crew.clock.ahead(1)
    caller = crew.tokens.caller(session)
    assert caller is not None
    assert not caller.second_factor


@pytest.mark.both_databases
def test_a_session_is_ended_and_an_api_token_withdrawn(crew: Crew) -> None:
    member, other = crew.member(), crew.member()
    session = crew.sign_in(member).session.token
    crew.tokens.end(session)
    crew.tokens.end(session)
    assert crew.tokens.caller(session) is None
    api = crew.tokens.issue(member.user_id, "report", READ, DAY).token
    (listed,) = crew.tokens.of_user(member.user_id)
    assert (listed.name, listed.scopes, listed.token_sha256) == ("report", ("pins:read",), hashed(api))
    with pytest.raises(RefusedError) as caught:
        crew.tokens.withdraw(other.user_id, listed.token_sha256)
    assert caught.value.code is Code.TOKEN_UNKNOWN
    assert crew.tokens.caller(api)
    crew.tokens.withdraw(member.user_id, listed.token_sha256)
    assert crew.tokens.caller(api) is None
    assert crew.tokens.of_user(member.user_id) == []


def test_what_is_nobodys_token(crew: Crew) -> None:
    for each in ("", "x", "é", "a" * 10_000):
        assert crew.tokens.caller(each) is None


@pytest.mark.parametrize(
    ("scopes", "lifetime", "code"),
    [
        (frozenset(), DAY, Code.SCOPE_MISSING),
        (frozenset({Scope.PINS_WRITE}), DAY, Code.SCOPE_MISSING),
        (READ | {Scope.LEASES_WRITE}, DAY, Code.SCOPE_MISSING),
        (READ, timedelta(), Code.MALFORMED),
        (READ, LONGEST + timedelta(seconds=1), Code.MALFORMED),
    ],
)
def test_no_token_reaches_further_or_longer_than_it_may(
    crew: Crew, scopes: frozenset[Scope], lifetime: timedelta, code: Code
) -> None:
    member = crew.member(Role.ADMINISTRATOR)
    with pytest.raises(RefusedError) as caught:
        crew.tokens.issue(member.user_id, "report", scopes, lifetime)
    assert caught.value.code is code


def test_a_user_has_so_many_tokens(crew: Crew) -> None:
    member = crew.member()
    for _ in range(MOST):
        crew.tokens.issue(member.user_id, "report", READ, DAY)
    with pytest.raises(RefusedError) as caught:
        crew.tokens.issue(member.user_id, "report", READ, DAY)
    assert caught.value.code is Code.USER_CONFLICT
    crew.clock.ahead(DAY.total_seconds())
    crew.tokens.issue(member.user_id, "report", READ, DAY)


def test_who_is_disabled_gets_no_token(crew: Crew) -> None:
    member = crew.member()
    crew.accounts.disable(member.user_id, CONSOLE)
    with pytest.raises(RefusedError):
        crew.tokens.issue(member.user_id, "report", READ, DAY)
