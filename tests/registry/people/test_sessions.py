"""Signing in takes id, password and a code that was never used; and says the same whatever of it is wrong."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from registry.access.caller import Role
from registry.access.denied import DeniedError
from registry.database import Database
from registry.people import store, throttle
from registry.people.accounts import CONSOLE
from registry.people.passwords import Lane, Passwords
from registry.people.sessions import Presented, Sessions
from registry.people.tokens import Tokens
from tests.registry.people.crew import AWAY, CHEAP, HOME, Crew, Member
from trust.codes import Code
from trust.verifier import Cost


def denied(crew: Crew, member: Member, address: str = HOME, **changes: str) -> DeniedError:
    with pytest.raises(DeniedError) as caught:
        crew.sessions.open(member.shown(address=address, **changes))
    return caught.value


@pytest.mark.both_databases
def test_who_shows_all_three_has_a_session(crew: Crew) -> None:
    member = crew.member(Role.LEAD)
    opened = crew.sign_in(member)
    caller = crew.tokens.caller(opened.session.token)
    assert caller is not None
    assert (caller.user_id, caller.role, caller.second_factor, caller.scopes) == (member.user_id, Role.LEAD, True, None)
    assert opened.session.expires_at == "2026-11-30T18:00:30.000Z"


def test_whatever_is_wrong_the_answer_is_the_same(crew: Crew) -> None:
    member, gone = crew.member(), crew.member()
    crew.accounts.disable(gone.user_id, CONSOLE)
    other = crew.member()
    answers = {
        (str(error), error.code, error.status, error.headers)
        for error in (
            denied(crew, member, password="another password"),
            denied(crew, member, code="000000"),
            denied(crew, member, code=""),
            denied(crew, member, code=other.code()),
            denied(crew, member, user_id="ab" * 16),
            denied(crew, member, user_id=""),
            denied(crew, gone),
        )
    }
    assert len(answers) == 1
    assert answers.pop()[1:3] == (Code.SIGN_IN_REFUSED, 401)


def test_each_wrong_one_costs_one_evaluation_the_unknown_ones_too(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an unknown id takes as long as a known one: the same work is done."""
    evaluated: list[str] = []
    real = Passwords.holds
    monkeypatch.setattr(Passwords, "holds", lambda self, kept, text: evaluated.append(kept) or real(self, kept, text))
    member = crew.member()
    denied(crew, member, password="another password")
    denied(crew, member, user_id="ab" * 16)
    denied(crew, member, code="000000")
    assert len(evaluated) == 3
    assert evaluated[1] == crew.passwords.nobodys


@pytest.mark.both_databases
def test_a_code_is_taken_once(crew: Crew) -> None:
    member = crew.member()
    crew.sign_in(member)
    assert denied(crew, member).code is Code.SIGN_IN_REFUSED
    crew.clock.ahead(30)
    assert denied(crew, member, code=member.code(steps=-1)).code is Code.SIGN_IN_REFUSED
    crew.sessions.open(member.shown())


def test_after_a_later_code_the_ones_before_are_used_up(crew: Crew) -> None:
    member = crew.member()
    crew.sessions.open(member.shown(code=member.code(steps=1)))
    assert denied(crew, member).code is Code.SIGN_IN_REFUSED


def test_a_code_two_steps_away_is_none(crew: Crew) -> None:
    member = crew.member()
    for steps in (-2, 2):
        assert denied(crew, member, code=member.code(steps=steps)).code is Code.SIGN_IN_REFUSED
    crew.sessions.open(member.shown(code=member.code(steps=-1)))


def processes(database: Database, crew: Crew, count: int) -> list[Sessions]:
    """As many registries over one database: nothing is shared but that."""
    made = []
    for _ in range(count):
        passwords = Passwords(CHEAP)
        made.append(Sessions(database, passwords, Tokens(database, now=crew.clock), now=crew.clock))
    return made


def race(crew: Crew, database: Database, member: Member, count: int) -> list[str]:
    """So many at once with one right code, each its own process; how each ended."""
    start = threading.Barrier(count)

    def one(sessions: Sessions) -> str:
        start.wait()
        try:
            sessions.open_by_code(member.shown())
        except DeniedError as error:
            return error.code.value
        return "in"

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, processes(database, crew, count)))


@pytest.mark.both_databases
def test_of_many_that_show_one_code_at_once_one_gets_in(crew: Crew, database: Database) -> None:
    for _ in range(5):
        crew.clock.ahead(3600)
        member = crew.member()
        assert race(crew, database, member, 4).count("in") == 1


def test_control_without_the_compare_and_set_more_get_in(
    crew: Crew, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "use_step", lambda *_: True)
    member = crew.member()
    assert race(crew, database, member, 4).count("in") > 1


def test_a_later_second_factor_makes_another_session_for_the_one_there_is(crew: Crew) -> None:
    member = crew.member()
    first = crew.sign_in(member).session
    crew.clock.ahead(301)
    stale = crew.tokens.caller(first.token)
    assert stale is not None
    assert not stale.second_factor
    second = crew.sessions.open_by_code(member.shown(password="")).session
    fresh = crew.tokens.caller(second.token)
    assert fresh is not None
    assert fresh.second_factor


def test_the_password_alone_is_a_first_half(crew: Crew) -> None:
    member = crew.member()
    crew.sessions.check_password(member.shown(code=""))
    with pytest.raises(DeniedError):
        crew.sessions.check_password(member.shown(password="another password"))


def test_a_verifier_of_less_cost_is_made_anew(crew: Crew, database: Database) -> None:
    member = crew.member()
    dearer = Passwords(Cost(128, 2, 1))
    Sessions(database, dearer, crew.tokens, now=crew.clock).open(member.shown())
    with database.read() as connection:
        kept = store.find_credentials(connection, member.user_id)
    assert kept is not None
    assert kept.password.startswith("$argon2id$v=19$m=128,t=2,p=1$")
    crew.sign_in(member)


def test_guessers_wait_in_their_own_lane_and_only_a_few_of_them(crew: Crew) -> None:
    member = crew.member()
    crew.sign_in(member)
    lane: Lane = crew.passwords.strangers
    with lane.turn():
        crew.sign_in(member)  # from the known place: not kept waiting
        for _ in range(3):
            assert lane._places.acquire(blocking=False)
        error = denied(crew, member, address=AWAY, device="")
        assert (error.status, error.code) == (429, Code.TOO_MANY_TRIES)
        for _ in range(3):
            lane._places.release()
    with crew.database.read() as connection:
        strangers = connection.exec_driver_sql("SELECT count(*) FROM tries WHERE origin = '' AND failed > 0")
        assert strangers.scalar_one() == 0  # sent away before it was counted


def test_no_secret_is_shown_by_a_value(crew: Crew) -> None:
    made = crew.accounts.add(Role.LEAD, CONSOLE)
    member = Member(made.user_id, made.password, made.enrolment, crew.clock)
    opened = crew.sign_in(member)
    text = repr([made, opened, member.shown()])
    secret = made.enrolment.split("secret=")[1][:32]
    for each in (made.password, secret, opened.session.token, opened.device):
        assert each not in text


def test_ids_that_are_nobodys_fill_no_table(crew: Crew, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a row of its own, up to a number: here 64."""
    monkeypatch.setattr(throttle, "sweep_shadows", partial(throttle.sweep_shadows, most=64))
    for number in range(90):
        nobody = Presented(user_id=f"{number:032x}", password="x" * 20, code="123456", address=HOME)
        with pytest.raises(DeniedError):
            crew.sessions.open(nobody)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tries").scalar_one() <= 64
