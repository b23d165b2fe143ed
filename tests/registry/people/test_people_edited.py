"""Rows about people edited in the database: the check names what does not fit together, and no more than that."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from registry.access.caller import Role
from registry.checking.findings import findings
from registry.database import Database
from registry.people.roster import RosterService
from registry.tables import roster_signatures, rosters, user_states, users
from tests.registry.make import World, ec_key, public, signed, world
from tests.registry.people.crew import Crew, Member
from tests.registry.people.test_roster_issued import RosterSigner
from trust.root import RegistryKeys
from trust.roster import Person, Roster, issued
from trust.statement import envelope

AT = "2026-11-30T06:00:00.000Z"
STRANGER = "ab" * 16


class Office:
    """Two administrators, an operator whom one of them has made a lead, and a roster."""

    def __init__(self, database: Database) -> None:
        self.crew, self.signer = Crew.make(database), RosterSigner()
        keys = RegistryKeys(receipt=public(ec_key()).spki, roster=public(self.signer.key).spki)
        self.made: World = world(registry_keys=keys)
        self.boss, self.other = self.crew.member(Role.ADMINISTRATOR), self.crew.member(Role.ADMINISTRATOR)
        self.worker: Member = self.crew.member(Role.OPERATOR)
        self.crew.accounts.set_role(self.worker.user_id, Role.LEAD, self.boss.user_id)
        self.crew.accounts.disable(self.other.user_id, self.boss.user_id)
        service = RosterService(database, self.made.trusted, self.signer, self.crew.accounts, now=self.crew.clock)
        self.roster: Roster = issued(self.made.trusted, service.current())

    def named(self) -> set[str]:
        return {each.table for each in findings(self.crew.database, self.made.trusted, self.crew.clock.now)}

    def put(self, table: Any, **values: Any) -> None:
        with self.crew.database.write() as connection:
            connection.execute(insert(table), values)

    def state(self, user_id: str, number: int, what: str, by: str, role: str = "administrator") -> None:
        values = {"user_id": user_id, "number": number, "what": what, "role": role}
        self.put(user_states, **values, enabled=1, by_whom=by, at=AT)

    def put_roster(self, roster: Roster, *, serial: int | None = None, key: Any = None) -> None:
        number = roster.serial if serial is None else serial
        self.put(rosters, serial=number, roster=envelope(roster).to_json())
        if key is not None:
            self.put(roster_signatures, serial=number, envelope=signed(roster, key).to_json())


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database)


@pytest.mark.both_databases
def test_control_people_as_they_are(office: Office) -> None:
    assert office.named() == set()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "put",
    [
        lambda o: o.state(o.worker.user_id, 3, "role", o.worker.user_id),
        lambda o: o.state(o.worker.user_id, 3, "role", STRANGER),
        lambda o: o.state(o.boss.user_id, 2, "role", o.worker.user_id),
        lambda o: o.state(o.worker.user_id, 4, "role", "console"),
        lambda o: o.state(o.worker.user_id, 3, "added", "console"),
        lambda o: o.put(users, user_id=STRANGER, made_at=AT),
    ],
    ids=["by himself", "by nobody", "by who is no administrator", "a number too far", "added twice", "added by nobody"],
)
def test_a_role_that_nobody_could_give_is_named(office: Office, put: Callable[[Office], None]) -> None:
    put(office)
    assert len(office.named()) == 1
    assert office.named() <= {"users", "user_states"}


def test_a_roster_that_does_not_follow_is_named(office: Office) -> None:
    following = msgspec.structs.replace(office.roster, serial=office.roster.serial + 1)
    thief = Person(user=STRANGER, role="engineer", badge="", verifier=office.roster.people[0].verifier)
    people = tuple(sorted((*office.roster.people, thief), key=lambda each: each.user))
    office.put_roster(msgspec.structs.replace(following, people=people))
    assert office.named() == {"rosters"}
    office.put_roster(following, serial=following.serial + 5)
    assert sum(each.table == "rosters" for each in findings(*_all(office))) == 2


def test_a_signature_of_another_key_is_named(office: Office) -> None:
    office.put_roster(msgspec.structs.replace(office.roster, serial=office.roster.serial + 1), key=ec_key())
    assert office.named() == {"roster_signatures"}


def _all(office: Office) -> tuple[Any, ...]:
    return office.crew.database, office.made.trusted, office.crew.clock.now


def test_what_looks_like_the_consoles_own_work_is_not_seen(office: Office) -> None:
    """The limit of it, said in docs/threats.md: nobody signs what people are."""
    office.state(office.worker.user_id, 3, "role", "console")
    thief = secrets.token_hex(16)
    office.put(users, user_id=thief, made_at=AT)
    office.state(thief, 1, "added", "console", "engineer")
    assert office.named() == set()
