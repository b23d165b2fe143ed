"""The registry issues the roster of those who work at stations, signed, and a new one when they change."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.signer import SignerError, SignerUnavailableError
from registry.access.caller import Role
from registry.database import Database, sqlite_url
from registry.errors import NotSignedError, ReceiptUnavailableError, RefusedError
from registry.people.accounts import CONSOLE, Accounts
from registry.people.roster import RosterService
from tests.registry.make import ec_key, public, signed, world
from tests.registry.people.crew import Clock, Crew
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import RegistryKeys, TrustedRoot
from trust.roster import AHEAD, Roster, issued
from trust.statement import moment, read
from trust.verifier import badge_hash, holds


@dataclass(slots=True)
class RosterSigner:
    """The cloud signer's rules about rosters, with a key in memory and a clock of its own where one is given."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    fault: Exception | None = None
    last: int = 0
    last_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    clock: Callable[[], datetime] | None = None
    asked: list[int] = field(default_factory=list)

    def sign_roster(self, roster: Roster) -> Envelope:
        self.asked.append(roster.serial)
        if self.fault is not None:
            raise self.fault
        now = datetime(9999, 1, 1, tzinfo=UTC) if self.clock is None else self.clock()
        made_at = moment(roster.made_at)
        if made_at - now > AHEAD:
            raise SignerError(Code.STATEMENT_INVALID, "ahead")
        if roster.serial < self.last or (made_at < self.last_at and self.last_at - now <= AHEAD):
            raise SignerError(Code.ROSTER_CONFLICT, "older")
        self.last, self.last_at = roster.serial, made_at
        return signed(roster, self.key)


@dataclass(slots=True)
class Office:
    crew: Crew
    trusted: TrustedRoot
    signer: RosterSigner
    rosters: RosterService

    def roster(self) -> Roster:
        return issued(self.trusted, self.rosters.current())


@pytest.fixture
def office(crew: Crew, database: Database) -> Office:
    signer = RosterSigner()
    keys = RegistryKeys(receipt=public(ec_key()).spki, roster=public(signer.key).spki)
    trusted = world(registry_keys=keys).trusted
    service = RosterService(database, trusted, signer, crew.accounts, now=crew.clock)  # type: ignore[arg-type]
    return Office(crew, trusted, signer, service)


@pytest.mark.both_databases
def test_only_who_works_at_stations_is_in_it(office: Office) -> None:
    crew = office.crew
    members = {role: crew.member(role) for role in Role}
    gone = crew.member()
    crew.accounts.disable(gone.user_id, CONSOLE)
    crew.accounts.set_badge(members[Role.LEAD].user_id, "04A2B3C4", CONSOLE)
    made = office.roster()
    assert {each.user: each.role for each in made.people} == {
        members[role].user_id: role.value for role in (Role.OPERATOR, Role.LEAD, Role.ENGINEER)
    }
    lead = next(each for each in made.people if each.role == "lead")
    assert lead.badge == badge_hash("04A2B3C4", made.badge_salt)
    assert holds(lead.verifier, members[Role.LEAD].password)
    assert made.serial == int(crew.clock.now.timestamp())


def test_the_same_people_have_the_same_roster_until_half_of_its_time(office: Office) -> None:
    office.crew.member()
    first = office.rosters.current()
    office.crew.clock.ahead(7 * 86_400 - 1)
    assert office.rosters.current() == first
    assert office.signer.asked == [read(first, Roster).serial]
    office.crew.clock.ahead(1)
    assert office.roster().serial > read(first, Roster).serial


@pytest.mark.parametrize("act", ["add", "disable", "role", "badge", "password"])
def test_a_change_of_people_makes_a_new_one_at_once(office: Office, act: str) -> None:
    crew = office.crew
    member = crew.member()
    before = office.roster()
    do: dict[str, Callable[[], object]] = {
        "add": crew.member,
        "disable": lambda: crew.accounts.disable(member.user_id, CONSOLE),
        "role": lambda: crew.accounts.set_role(member.user_id, Role.ENGINEER, CONSOLE),
        "badge": lambda: crew.accounts.set_badge(member.user_id, "04A2B3C4", CONSOLE),
        "password": lambda: crew.accounts.set_password(member.user_id, "four quiet words here"),
    }
    do[act]()
    after = office.roster()
    assert (after.serial, after.people != before.people) == (before.serial + 1, True)


def test_what_a_stations_roster_does_not_show_changes_none(office: Office) -> None:
    before = office.roster()
    boss = office.crew.member(Role.ADMINISTRATOR)
    office.crew.sign_in(boss)
    assert office.roster() == before


def test_a_crash_before_the_signature_loses_nothing(office: Office) -> None:
    office.signer.fault = SignerUnavailableError("away")
    with pytest.raises(ReceiptUnavailableError):
        office.rosters.current()
    office.signer.fault = None
    office.crew.clock.ahead(60)
    assert office.roster().serial == office.signer.asked[0]
    assert len(set(office.signer.asked)) == 1


def test_a_signer_that_refuses_is_no_signer_that_is_away(office: Office) -> None:
    office.signer.fault = SignerError(Code.ROSTER_CONFLICT, "older")
    with pytest.raises(NotSignedError) as caught:
        office.rosters.current()
    assert caught.value.code is Code.ROSTER_CONFLICT
    office.signer.fault, office.signer.key = None, ec_key()
    with pytest.raises(NotSignedError) as caught:
        office.rosters.current()
    assert caught.value.code is Code.INTERNAL


def test_a_database_that_was_put_back_goes_on_above_what_was_signed(
    office: Office, tmp_path: Path, migrated: bytes
) -> None:
    office.crew.member()
    signed_last = office.roster().serial
    path = tmp_path / "put-back.db"
    path.write_bytes(migrated)
    database = Database.open(sqlite_url(path))
    office.crew.clock.ahead(5)
    accounts = Accounts(database, office.crew.passwords, "x", now=office.crew.clock)
    again = RosterService(database, office.trusted, office.signer, accounts, now=office.crew.clock)  # type: ignore[arg-type]
    assert read(again.current(), Roster).serial > signed_last
    database.close()


@pytest.fixture
def apart(office: Office) -> Clock:
    """The clock of the office's signer, which is right while the registry's jumps; one roster is issued."""
    clock = Clock()
    office.signer.clock = clock
    office.crew.member()
    office.roster()
    return clock


JUMPS = [timedelta(minutes=7), timedelta(days=100), timedelta(days=365), timedelta(days=400), timedelta(days=3650)]


def after_a_jump(office: Office, right: Clock, jump: timedelta) -> Roster:
    """The clock jumps, somebody comes, the roster is asked for, the clock is set right, and it is asked for again."""
    office.crew.clock.ahead(jump.total_seconds())
    office.crew.member()
    with pytest.raises(NotSignedError) as caught:
        office.rosters.current()
    assert caught.value.code is Code.INTERNAL
    office.crew.clock.now = right.now = right.now + timedelta(minutes=1)
    return office.roster()


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_jump_of_the_clock_spoils_nothing(office: Office, apart: Clock, jump: timedelta) -> None:
    before = office.roster()
    found = after_a_jump(office, apart, jump)
    assert moment(found.made_at) == apart.now
    assert (len(found.people), found.serial > before.serial) == (2, True)


def test_years_ahead_of_all_that_is_known_nothing_is_stored(
    office: Office, apart: Clock, rows: Callable[[str], int]
) -> None:
    after_a_jump(office, apart, timedelta(days=400))
    assert rows("rosters") == 2, "one before and one after"


def test_control_a_roster_that_goes_on_from_a_time_ahead_fails(
    office: Office, apart: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.people.roster._is_ahead", lambda *_: False)
    monkeypatch.setattr("registry.people.roster._told", lambda last, _: [moment(last.roster.made_at)])
    with pytest.raises(NotSignedError):
        after_a_jump(office, apart, timedelta(days=100))


def test_what_was_signed_while_both_clocks_were_ahead_is_followed_by_one_of_today(office: Office, apart: Clock) -> None:
    office.crew.clock.ahead(300 * 86_400)
    apart.ahead(300 * 86_400)
    wrong = office.roster()
    office.crew.clock.ahead(-300 * 86_400 + 60)
    apart.ahead(-300 * 86_400 + 60)
    found = office.roster()
    assert (moment(found.made_at), found.serial) == (apart.now, wrong.serial + 1)


def test_a_process_that_is_behind_stops_no_other_one(office: Office, apart: Clock) -> None:
    office.crew.clock.ahead(-3600)
    with pytest.raises(NotSignedError) as caught:
        office.rosters.current()
    assert caught.value.code is Code.ROSTER_CONFLICT
    office.crew.clock.now = apart.now = apart.now + timedelta(minutes=1)
    assert moment(office.roster().made_at) == apart.now


def test_without_a_key_in_the_root_there_is_none(crew: Crew, database: Database) -> None:
    service = RosterService(database, world().trusted, RosterSigner(), crew.accounts)  # type: ignore[arg-type]
    with pytest.raises(RefusedError) as caught:
        service.current()
    assert caught.value.code is Code.NOT_AUTHORISED


@pytest.mark.both_databases
def test_many_that_ask_at_once_get_one_roster(office: Office, rows: Callable[[str], int]) -> None:
    office.crew.member()
    with ThreadPoolExecutor(8) as pool:
        found = {read(each, Roster) for each in pool.map(lambda _: office.rosters.current(), range(16))}
    assert len(found) == 1
    assert (rows("rosters"), rows("roster_signatures")) == (1, 1)
