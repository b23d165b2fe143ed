"""People over HTTP: signing in and out, API tokens, users for administrators, the roster for stations alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from registry.access.caller import Role, Scope
from registry.app import create_app
from registry.database import Database
from registry.people.service import People
from registry.services import Services
from tests.registry.access import StationClient, station_of
from tests.registry.make import World, ec_key, public, world
from tests.registry.people.crew import Crew, Member
from tests.registry.people.served import services_of
from tests.registry.people.test_roster_issued import RosterSigner
from trust.dsse import Envelope
from trust.root import RegistryKeys
from trust.roster import issued


@dataclass(slots=True)
class Desk:
    """One application, and who asks it."""

    crew: Crew
    made: World
    services: Services

    def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", host: str = "192.0.2.10"
    ) -> httpx2.Response:
        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(create_app(self.services), raise_app_exceptions=False, client=(host, 1234))
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                headers = {"authorization": f"Bearer {token}"} if token else {}
                content = None if body is None else json.dumps(body).encode()
                return await client.request(method, path, content=content, headers=headers)

        return asyncio.run(run())

    def as_station(self, station: StationClient, method: str, path: str) -> httpx2.Response:
        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(create_app(self.services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                return await station.ask(client, method, path)

        return asyncio.run(run())

    def session(self, member: Member, **changes: Any) -> httpx2.Response:
        self.crew.clock.ahead(30)
        said = {"user_id": member.user_id, "password": member.password, "code": member.code(), "device": member.device}
        return self.ask("POST", "/v1/sessions", {**said, **changes})

    def token(self, role: Role = Role.ADMINISTRATOR) -> str:
        return self.session(self.crew.member(role)).json()["token"]


@pytest.fixture
def desk(crew: Crew, database: Database) -> Desk:
    signer = RosterSigner()
    made = world(registry_keys=RegistryKeys(receipt=public(ec_key()).spki, roster=public(signer.key).spki))
    people = People(accounts=crew.accounts, sessions=crew.sessions, tokens=crew.tokens)
    services = services_of(database, made, people, signer, now=crew.clock)
    return Desk(crew, made, services)


def error(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_sign_in_ask_and_sign_out(desk: Desk) -> None:
    member = desk.crew.member(Role.AUDITOR)
    answer = desk.session(member)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["user_id"], said["role"]) == (member.user_id, "auditor")
    assert desk.ask("GET", "/v1/users", token=said["token"]).json()["users"][0]["user_id"] == member.user_id
    assert desk.ask("DELETE", "/v1/sessions/current", token=said["token"]).json() == {"done": True}
    assert error(desk.ask("GET", "/v1/users", token=said["token"])) == (401, "access-token-invalid")


def test_a_wrong_sign_in_is_401_and_the_same_whatever_was_wrong(desk: Desk) -> None:
    member = desk.crew.member()
    answers = [
        desk.session(member, password="x"), desk.session(member, code="x"), desk.session(member, user_id="ab" * 16),
        desk.session(member, device="made up", password="x"),
    ]  # fmt: skip
    assert {error(each) for each in answers} == {(401, "sign-in-refused")}
    assert len({each.text for each in answers}) == 1
    assert len({tuple(sorted(set(each.headers) - {"date"})) for each in answers}) == 1


def test_too_many_tries_are_429_with_the_time_to_wait(desk: Desk) -> None:
    member = desk.crew.member()
    for _ in range(5):
        desk.crew.clock.ahead(-30)
        assert desk.session(member, password="x").status_code == 401
    desk.crew.clock.ahead(-30)
    answer = desk.session(member, password="x")
    assert error(answer) == (429, "too-many-tries")
    assert 1 <= int(answer.headers["retry-after"]) <= 30


@pytest.mark.parametrize("changes", [{"more": 1}, {"password": 7}, {"password": "x" * 1001}, {"code": None}])
def test_what_is_no_sign_in_is_malformed_and_counts_for_nobody(
    desk: Desk, changes: dict[str, Any], rows: Callable[[str], int]
) -> None:
    assert error(desk.session(desk.crew.member(), **changes)) == (400, "malformed")
    assert rows("tries") == 0


def test_acts_want_a_second_factor_just_given(desk: Desk) -> None:
    boss = desk.crew.member(Role.ADMINISTRATOR)
    token = desk.session(boss).json()["token"]
    desk.crew.clock.ahead(301)
    answer = desk.ask("POST", "/v1/users", {"role": "operator"}, token=token)
    assert error(answer) == (401, "second-factor-needed")
    assert 'error="insufficient_user_authentication"' in answer.headers["www-authenticate"]
    fresh = desk.ask("POST", "/v1/sessions/current/second-factor", {"code": boss.code()}, token=token)
    assert fresh.status_code == 200
    assert desk.ask("POST", "/v1/users", {"role": "operator"}, token=fresh.json()["token"]).status_code == 200
    assert desk.ask("GET", "/v1/users", token=token).status_code == 401
    used = desk.ask("POST", "/v1/sessions/current/second-factor", {"code": boss.code()}, token=fresh.json()["token"])
    assert error(used) == (401, "sign-in-refused")


def test_users_are_made_changed_and_looked_at(desk: Desk) -> None:
    boss = desk.token()
    made = desk.ask("POST", "/v1/users", {"role": "operator"}, token=boss)
    assert made.headers["cache-control"] == "no-store"
    user = made.json()["user_id"]
    member = Member(user, made.json()["password"], made.json()["enrolment"], desk.crew.clock)
    assert desk.session(member).status_code == 200
    place = f"/v1/users/{user}"
    assert desk.ask("PUT", f"{place}/role", {"role": "lead"}, token=boss).json()["role"] == "lead"
    assert desk.ask("PUT", f"{place}/badge", {"badge": "04A2B3C4"}, token=boss).json()["what"] == "badge"
    assert desk.ask("POST", f"{place}/disable", token=boss).json()["enabled"] is False
    assert error(desk.session(member)) == (401, "sign-in-refused")
    assert desk.ask("POST", f"{place}/enable", token=boss).json()["enabled"] is True
    assert desk.ask("POST", f"{place}/reset", token=boss).json()["password"] != member.password
    told = [each["what"] for each in desk.ask("GET", place, token=boss).json()["users"]]
    assert told == ["added", "role", "badge", "disabled", "enabled", "reset"]
    assert error(desk.ask("GET", f"/v1/users/{'ab' * 16}", token=boss)) == (404, "user-unknown")
    other = desk.ask("POST", "/v1/users", {"role": "lead"}, token=boss).json()["user_id"]
    taken = desk.ask("PUT", f"/v1/users/{other}/badge", {"badge": "04A2B3C4"}, token=boss)
    assert error(taken) == (409, "user-conflict")


def test_nobody_but_an_administrator_changes_users(desk: Desk) -> None:
    user = desk.crew.member().user_id
    acts: list[tuple[str, str, Any]] = [
        ("POST", "/v1/users", {"role": "administrator"}), ("PUT", f"/v1/users/{user}/role", {"role": "administrator"}),
        ("PUT", f"/v1/users/{user}/badge", {"badge": None}), ("POST", f"/v1/users/{user}/disable", None),
        ("POST", f"/v1/users/{user}/enable", None), ("POST", f"/v1/users/{user}/reset", None),
    ]  # fmt: skip
    for role in set(Role) - {Role.ADMINISTRATOR}:
        token = desk.token(role)
        assert {error(desk.ask(*act, token=token)) for act in acts} == {(403, "not-authorised")}
        looks = desk.ask("GET", "/v1/users", token=token).status_code
        assert looks == (200 if role is Role.AUDITOR else 403)
    assert {error(desk.ask(*act)) for act in acts} == {(401, "access-token-needed")}
    assert [each.what for each in desk.crew.accounts.history(user)] == ["added"]


def test_an_api_token_does_what_its_scopes_say_and_no_more(desk: Desk) -> None:
    boss = desk.token()
    made = desk.ask("POST", "/v1/api-tokens", {"name": "report", "scopes": ["pins:read"], "days": 1}, token=boss)
    assert made.headers["cache-control"] == "no-store"
    api = made.json()["token"]
    assert error(desk.ask("GET", f"/v1/pins/{'ab' * 12}", token=api)) == (404, "not-pinned")
    for method, path in (("GET", "/v1/users"), ("GET", "/v1/api-tokens"), ("DELETE", "/v1/sessions/current")):
        assert error(desk.ask(method, path, token=api)) == (403, "scope-missing")
    (listed,) = desk.ask("GET", "/v1/api-tokens", token=boss).json()["tokens"]
    assert api not in str(listed)
    place = f"/v1/api-tokens/{listed['token_sha256']}"
    assert error(desk.ask("DELETE", place, token=desk.token())) == (404, "token-unknown")
    assert desk.ask("DELETE", place, token=boss).status_code == 200
    assert desk.ask("GET", f"/v1/pins/{'ab' * 12}", token=api).status_code == 401
    wrong = desk.ask("POST", "/v1/api-tokens", {"name": "x", "scopes": ["pins:write"]}, token=boss)
    assert error(wrong) == (403, "scope-missing")
    assert error(desk.ask("POST", "/v1/api-tokens", {"name": "x", "scopes": ["all"]}, token=boss)) == (400, "malformed")


def test_a_password_of_ones_own(desk: Desk) -> None:
    member = desk.crew.member()
    token = desk.session(member).json()["token"]
    assert error(desk.ask("PUT", "/v1/me/password", {"password": "short"}, token=token)) == (422, "password-weak")
    assert desk.ask("PUT", "/v1/me/password", {"password": "four quiet words here"}, token=token).status_code == 200
    assert desk.ask("GET", "/v1/api-tokens", token=token).status_code == 401
    assert desk.session(member).status_code == 401
    assert desk.session(member, password="four quiet words here").status_code == 200


ODD = ("\x00", "ab" * 16 + "\x00", "\ud800", "\U0001f512" * 150, "\ufdfa" * 190, "%00", "../users", "' OR 1=1 --")


@pytest.mark.both_databases
def test_odd_texts_are_refused_and_no_bug(desk: Desk) -> None:
    """PostgreSQL takes no NUL, a verifier no text without end: whatever comes is one of the documented refusals."""
    boss, member = desk.token(), desk.crew.member()
    for odd in ODD:
        found = [
            desk.session(member, user_id=odd), desk.session(member, password=odd), desk.session(member, code=odd),
            desk.session(member, device=odd, password="x"),
            desk.ask("POST", "/v1/api-tokens", {"name": odd, "scopes": ["pins:read"]}, token=boss),
            desk.ask("PUT", "/v1/me/password", {"password": odd}, token=boss),
            desk.ask("PUT", f"/v1/users/{member.user_id}/badge", {"badge": odd}, token=boss),
        ]  # fmt: skip
        path = quote(odd.encode("utf-8", "replace"))
        found += [
            desk.ask("GET", f"/v1/users/{path}", token=boss), desk.ask("POST", f"/v1/users/{path}/disable", token=boss),
            desk.ask("DELETE", f"/v1/api-tokens/{path}", token=boss),
        ]  # fmt: skip
        assert {each.status_code for each in found} <= {200, 400, 401, 404, 405, 422, 429}, odd
        with desk.crew.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM tries")


def test_the_roster_is_for_stations(desk: Desk) -> None:
    member = desk.crew.member()
    answer = desk.as_station(station_of(desk.made), "GET", "/v1/roster")
    assert answer.status_code == 200
    made = issued(
        desk.made.trusted, Envelope.from_json(json.dumps(answer.json()["roster"], separators=(",", ":")).encode())
    )
    assert [each.user for each in made.people] == [member.user_id]
    assert error(desk.ask("GET", "/v1/roster", token=desk.token())) == (403, "not-authorised")
    assert error(desk.ask("GET", "/v1/roster")) == (401, "access-token-needed")
    assert Scope.ROSTER_READ.value == "roster:read"


def test_guesses_at_a_known_address_do_not_lock_its_person_out(desk: Desk) -> None:
    """Over HTTP, too: what tells people behind one address apart is the device's token."""
    member = desk.crew.member()
    member.device = desk.session(member).json()["device"]
    for _ in range(6):
        desk.ask("POST", "/v1/sessions", {"user_id": member.user_id, "password": "x", "code": "1"})
    assert desk.session(member).status_code == 200
