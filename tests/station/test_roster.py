"""People sign in by the roster alone: with no registry, by badge or password, until it is over."""

from __future__ import annotations

import asyncio
import logging
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from station.cloud import CloudUnreachableError
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.roster import Badge, Password, signed_in
from station.rostering import TAKEN_UP, RosterError, beside, in_words, keep_roster, read_kept
from tests.registry.make import ec_key, public, signed, world
from tests.trust.rosters import person, roster
from trust.dsse import Envelope
from trust.root import RegistryKeys, TrustedRoot
from trust.roster import Person, Roster
from trust.verifier import Cost, badge_hash, badge_salt, verifier

CHEAP = Cost(64, 1, 1)
NOW = datetime(2026, 11, 30, 7, tzinfo=UTC)
KEY = ec_key()
SALT = badge_salt(CHEAP)
PASSWORD = "four quiet words here"


@pytest.fixture(scope="module")
def people() -> tuple[Person, ...]:
    badged = {"badge": badge_hash("04A2B3C4", SALT), "verifier": verifier(PASSWORD, CHEAP)}
    return (
        person(1, **badged),
        person(2, badge="", verifier=verifier("other quiet words", CHEAP), role="lead"),
        person(3, verifier=""),
    )


@pytest.fixture(scope="module")
def made(people: tuple[Person, ...]) -> Roster:
    return roster("ab" * 32, people=people, badge_salt=SALT)


def test_a_badge_and_a_password_each_tell_who_it_is(made: Roster, people: tuple[Person, ...]) -> None:
    assert signed_in(made, Badge("04A2B3C4"), NOW) == people[0]
    assert signed_in(made, Password(people[0].user, PASSWORD), NOW) == people[0]
    assert signed_in(made, Password(people[1].user, "other quiet words"), NOW) == people[1]


def test_one_password_is_one_text_on_every_keyboard(people: tuple[Person, ...]) -> None:
    one = person(1, verifier=verifier("ein l\u00e4ngeres Kennwort", CHEAP))
    made = roster("ab" * 32, people=(one,), badge_salt=SALT)
    assert signed_in(made, Password(one.user, "ein la\u0308ngeres Kennwort"), NOW) == one


def test_whoever_is_not_in_it_is_nobody(made: Roster, people: tuple[Person, ...]) -> None:
    for shown in (
        Badge("04A2B3C5"), Badge(""), Badge("x" * 5000), Password(people[0].user, "other quiet words"),
        Password("ff" * 16, PASSWORD), Password("", ""), Password(people[2].user, ""), Password(people[0].user, "x" * 5000),
    ):  # fmt: skip
        assert signed_in(made, shown, NOW) is None


def test_when_it_is_over_nobody_signs_in(made: Roster, people: tuple[Person, ...]) -> None:
    end = datetime.fromisoformat(made.expires_at)
    assert signed_in(made, Badge("04A2B3C4"), end - timedelta(seconds=1)) == people[0]
    assert signed_in(made, Badge("04A2B3C4"), end) is None


def test_what_is_shown_is_in_no_repr() -> None:
    assert "04A2B3C4" not in repr(Badge("04A2B3C4"))
    assert PASSWORD not in repr(Password("u", PASSWORD))


@dataclass(slots=True)
class Cloud:
    envelope: Envelope | None = None
    asked: int = 0

    async def roster(self) -> Envelope:
        self.asked += 1
        if self.envelope is None:
            raise CloudUnreachableError("nobody listens there")
        return self.envelope


@dataclass(slots=True)
class Plant:
    """One station with a ledger, and what the registry gives it."""

    database: Path
    trusted: TrustedRoot
    cloud: Cloud = field(default_factory=Cloud)
    now: datetime = NOW

    async def fetch(self) -> str:
        """Fetch; the number that is on record then, or empty."""
        stamp = Stamp(station="st-01", environment="demo", root_sha256=self.trusted.sha256, now=lambda: self.now)
        store = JobStore(open_database(self.database, create=True), stamp)
        try:
            await keep_roster(self.cloud, self.trusted, store, stamp, self.database)
            last = await store.last_event(TAKEN_UP)
            return "" if last is None else last.details["serial"]
        finally:
            await store.close()

    def kept(self) -> Roster:
        async def read() -> Roster:
            stamp = Stamp(station="st-01", environment="demo", root_sha256=self.trusted.sha256)
            store = JobStore(open_database(self.database, create=True), stamp)
            try:
                seen = await store.last_event(TAKEN_UP)
            finally:
                await store.close()
            return read_kept(self.database, self.trusted, seen, self.now)

        return asyncio.run(read())

    def give(self, **changes: object) -> Envelope:
        """What the registry answers from now on."""
        self.cloud.envelope = signed(
            roster(self.trusted.sha256, registry="registry-01", badge_salt=SALT, **changes), KEY
        )
        return self.cloud.envelope


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    keys = RegistryKeys(receipt=public(ec_key()).spki, roster=public(KEY).spki)
    return Plant(tmp_path / "ledger.db", world(registry_keys=keys).trusted)


def fetched(plant: Plant) -> str:
    return asyncio.run(plant.fetch())


def test_the_newest_is_kept_for_its_owner_alone_and_its_number_is_on_record(plant: Plant) -> None:
    envelope = plant.give()
    assert fetched(plant) == "7"
    assert beside(plant.database).read_bytes() == envelope.to_json()
    assert stat.S_IMODE(beside(plant.database).stat().st_mode) == 0o600
    assert plant.kept().serial == 7
    assert in_words(plant.kept(), NOW) == "number 7, 2 people, 1 hours old, until 2026-12-14 06:00 UTC"
    assert PASSWORD.encode() not in plant.database.read_bytes()
    assert b"argon2id" not in plant.database.read_bytes()  # auditors get the log


def test_a_newer_one_replaces_it_and_the_same_one_changes_nothing(plant: Plant) -> None:
    plant.give()
    fetched(plant)
    before = plant.database.read_bytes()
    assert fetched(plant) == "7"
    assert plant.database.read_bytes() == before
    plant.give(serial=8)
    assert fetched(plant) == "8"
    assert plant.kept().serial == 8


def test_an_older_one_is_refused(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.give(serial=8)
    fetched(plant)
    plant.give(serial=7)
    assert fetched(plant) == "8"
    assert plant.kept().serial == 8
    assert "is an old one: 8 was taken up here" in caplog.text


def test_an_older_file_that_is_put_back_is_noticed(plant: Plant) -> None:
    old = plant.give(serial=7)
    fetched(plant)
    plant.give(serial=8)
    fetched(plant)
    beside(plant.database).write_bytes(old.to_json())
    with pytest.raises(RosterError, match=r"number 7 of .* is an old one: 8 was taken up here"):
        plant.kept()


def test_control_without_the_record_the_old_file_would_do(plant: Plant) -> None:
    old = plant.give(serial=7)
    plant.give(serial=8)
    fetched(plant)
    beside(plant.database).write_bytes(old.to_json())
    assert read_kept(plant.database, plant.trusted, None, NOW).serial == 7


def test_another_one_of_the_same_number_is_refused(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.give()
    fetched(plant)
    plant.give(people=())
    fetched(plant)
    assert "another number 7 was taken up here. Call the security officer" in caplog.text
    assert len(plant.kept().people) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"expires_at": "2026-11-30T07:00:00Z"}, "was over at"),
        ({"environment": "plant-1"}, "another environment"),
        ({"registry": "registry-02"}, "another environment, registry"),
    ],
)
def test_what_does_not_hold_is_not_taken(
    plant: Plant, changes: dict[str, str], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = roster(plant.trusted.sha256, **{"registry": "registry-01", **changes})
    plant.cloud.envelope = signed(made, KEY)
    assert fetched(plant) == ""
    assert why in caplog.text
    assert not beside(plant.database).exists()


def test_another_keys_roster_is_not_taken(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    plant.cloud.envelope = signed(roster(plant.trusted.sha256, registry="registry-01"), ec_key())
    assert fetched(plant) == ""
    assert "not signed by key" in caplog.text


def test_a_registry_that_is_away_stops_nothing(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    plant.give()
    fetched(plant)
    plant.cloud.envelope = None
    assert fetched(plant) == "7"
    assert "nobody listens there" in caplog.text
    assert plant.kept().serial == 7


def test_when_it_is_over_it_is_said(plant: Plant) -> None:
    plant.give()
    fetched(plant)
    plant.now = datetime(2026, 12, 14, 6, tzinfo=UTC)
    with pytest.raises(RosterError, match="was over at 2026-12-14"):
        plant.kept()


def test_one_of_a_clock_that_is_ahead_is_not_taken(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    """It would hold for as long as that clock was ahead. Control: one of a clock that is a few minutes ahead is taken."""
    plant.give(serial=8, made_at="2026-11-30T07:05:01Z")
    assert fetched(plant) == ""
    assert "number 8 was made at 2026-11-30T07:05:01Z" in caplog.text
    plant.give(made_at="2026-11-30T07:05:00Z")
    assert fetched(plant) == "7"


def test_one_that_was_kept_while_this_clock_was_ahead_lets_nobody_in(plant: Plant) -> None:
    plant.give(made_at="2027-11-30T07:00:00Z", expires_at="2027-12-14T07:00:00Z")
    plant.now = datetime(2027, 11, 30, 7, tzinfo=UTC)
    assert fetched(plant) == "7"
    plant.now = NOW
    with pytest.raises(RosterError, match="Correct the clock that is wrong"):
        plant.kept()
    plant.give(serial=8)
    assert fetched(plant) == "8"
    assert plant.kept().serial == 8


def test_a_file_that_is_gone_or_spoilt_is_said_and_fetched_again(plant: Plant) -> None:
    with pytest.raises(RosterError, match="none kept"):
        plant.kept()
    plant.give()
    fetched(plant)
    beside(plant.database).write_bytes(b"{}")
    with pytest.raises(RosterError, match="Start a batch"):
        plant.kept()
    beside(plant.database).unlink()
    with pytest.raises(RosterError, match="7 was taken up, and its file is gone"):
        plant.kept()
    assert fetched(plant) == "7"
    assert plant.kept().serial == 7


def test_where_the_root_names_no_key_nobody_is_asked(plant: Plant) -> None:
    plant.trusted = world().trusted
    assert fetched(plant) == ""
    assert plant.cloud.asked == 0
