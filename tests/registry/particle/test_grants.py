"""The token endpoint with the door open: what is refused, how tries count, and that stations are served as before."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from registry.access.caller import Role, Scope
from registry.access.jws import decode, encode
from registry.app import create_app
from tests.registry.access import station_of
from tests.registry.particle.desk import DEVICE, Desk
from tests.registry.particle.recorded import ApiJs, Cli
from tests.registry.people.crew import Member

FORM = "application/x-www-form-urlencoded"


def refused(answer: Any) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert isinstance(said["error_description"], str)
    return answer.status_code, said["error"]


def mfa_token(desk: Desk, member: Member) -> str:
    desk.crew.clock.ahead(30)
    answer = desk.send(Cli().password(member.user_id, member.password))
    token = answer.json()["mfa_token"]
    assert isinstance(token, str)
    return token


def test_wrong_passwords_and_unknown_users_are_answered_alike(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    answers = [
        desk.send(Cli().password(member.user_id, "wrong")), desk.send(Cli().password("ab" * 16, "wrong")),
        desk.send(Cli().password("somebody@example.com", "wrong")),
    ]  # fmt: skip
    assert {refused(each) for each in answers} == {(400, "invalid_grant")}
    assert len({each.text for each in answers}) == 1


def test_a_wrong_code_an_old_code_and_a_code_used_twice_give_nothing(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    token = mfa_token(desk, member)
    assert refused(desk.send(Cli().code(token, "000000"))) == (400, "invalid_grant")
    assert refused(desk.send(Cli().code(token, member.code(steps=-3)))) == (400, "invalid_grant")
    assert desk.send(Cli().code(token, member.code())).status_code == 200
    assert refused(desk.send(Cli().code(token, member.code()))) == (400, "invalid_grant")


def test_the_mfa_token_is_over_after_five_minutes(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    token = mfa_token(desk, member)
    desk.crew.clock.ahead(301)
    assert refused(desk.send(Cli().code(token, member.code()))) == (400, "invalid_grant")


def test_the_mfa_token_is_void_once_the_user_is_another(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    token = mfa_token(desk, member)
    desk.crew.accounts.set_password(member.user_id, "a wholly different word")
    assert refused(desk.send(Cli().code(token, member.code()))) == (400, "invalid_grant")


def test_an_mfa_token_that_was_changed_anywhere_is_none(desk: Desk) -> None:
    member, other = desk.crew.member(Role.LEAD), desk.crew.member(Role.LEAD)
    raw = decode(mfa_token(desk, member))
    twisted = [bytes([*raw[:at], raw[at] ^ 1, *raw[at + 1 :]]) for at in range(len(raw))]
    twisted += [bytes.fromhex(other.user_id) + raw[16:], raw[:-1], raw + b"x"]
    # asked of the seal itself: the throttle would stop so many requests
    second = desk.services.grants["urn:custom:mfa-otp"].__self__.second  # type: ignore[attr-defined]
    assert second.opened(encode(raw)).user_id == member.user_id
    assert [each for each in twisted if second.opened(encode(each)) is not None] == []
    assert [each for each in ("", "MT", "=", "\u00e9") if second.opened(each) is not None] == []


def test_guesses_through_this_door_count_with_all_others(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    desk.host = "198.51.100.7"
    answers = [desk.send(Cli().password(member.user_id, "wrong")) for _ in range(12)]
    assert [refused(each) for each in answers[:5]] == [(400, "invalid_grant")] * 5
    assert {refused(each) for each in answers[5:]} == {(429, "slow_down")}
    assert int(answers[-1].headers["retry-after"]) > 0


def test_guesses_of_codes_count_too(desk: Desk) -> None:
    member = desk.crew.member(Role.LEAD)
    token = mfa_token(desk, member)
    answers = {refused(desk.send(Cli().code(token, f"{n:06}"))) for n in range(12)}
    assert answers == {(400, "invalid_grant"), (429, "slow_down")}


FORMS = [
    ("grant_type=password&username=x", "invalid_request"),
    ("grant_type=password&password=x", "invalid_request"),
    ("grant_type=password&username=x&username=y&password=z", "invalid_request"),
    ("grant_type=urn%3Acustom%3Amfa-otp&mfa_token=x", "invalid_grant"),
    ("grant_type=urn%3Acustom%3Amfa-otp&otp=123456", "invalid_request"),
    ("grant_type=refresh_token&refresh_token=x", "unsupported_grant_type"),
    ("grant_type=client_credentials&client_id=particle-api&client_secret=particle-api", "invalid_client"),
    ("grant_type=client_credentials&client_id=x", "invalid_request"),
    ("grant_type=client_credentials", "invalid_request"),
    ("", "invalid_request"),
]


def test_forms_that_are_none_are_refused(desk: Desk) -> None:
    for form, error in FORMS:
        assert refused(desk.ask("POST", "/oauth/token", form.encode(), content_type=FORM)) == (400, error), form


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def test_client_credentials_by_http_basic(desk: Desk) -> None:
    member = desk.crew.member(Role.ENGINEER)
    made = desk.crew.tokens.issue(member.user_id, "line 3", frozenset({Scope.KEYS_PROPOSE}), timedelta(days=1))
    form = b"grant_type=client_credentials"

    def ask(authorization: str, form: bytes = form) -> httpx2.Response:
        return desk.ask("POST", "/oauth/token", form, content_type=FORM, authorization=authorization)

    assert ask(basic(member.user_id, made.token)).json()["access_token"] == made.token
    answer = ask(basic(member.user_id, "wrong"))
    assert refused(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert refused(ask(basic("ab" * 16, made.token))) == (401, "invalid_client")
    assert refused(ask("Basic ???")) == (400, "invalid_request")
    assert refused(ask("Basic YWJj")) == (400, "invalid_request")
    assert refused(ask(basic(member.user_id, made.token), form + b"&client_secret=x")) == (400, "invalid_request")


SCOPES = {
    "other scope": frozenset({Scope.PINS_READ}),
    "more than proposing": frozenset({Scope.PINS_READ, Scope.KEYS_PROPOSE}),
}


@pytest.mark.parametrize("what", ["session", "other scope", "more than proposing", "withdrawn"])
def test_other_tokens_are_no_client_secret(desk: Desk, what: str) -> None:
    member = desk.crew.member(Role.ENGINEER)
    scopes = SCOPES.get(what, frozenset({Scope.KEYS_PROPOSE}))
    token = desk.crew.tokens.issue(member.user_id, "t", scopes, timedelta(days=1)).token
    if what == "session":
        token = desk.crew.sign_in(member).session.token
    if what == "withdrawn":
        desk.crew.tokens.end(token)
    assert refused(desk.send(ApiJs().client(member.user_id, token))) == (400, "invalid_client")


def test_what_is_answered_is_what_the_token_is(desk: Desk) -> None:
    """Scope and time: one that was made for ninety days is said to hold for ninety days."""
    member = desk.crew.member(Role.ENGINEER)
    made = desk.crew.tokens.issue(member.user_id, "t", frozenset({Scope.KEYS_PROPOSE}), timedelta(days=90))
    form = f"grant_type=client_credentials&client_id={member.user_id}&client_secret={made.token}"
    said = desk.ask("POST", "/oauth/token", form.encode(), content_type=FORM).json()
    caller = desk.crew.tokens.caller(said["access_token"])
    assert caller is not None
    assert (said["scope"], said["expires_in"]) == (" ".join(sorted(caller.scopes or ())), 90 * 86_400)


def test_a_station_gets_its_token_as_before(desk: Desk) -> None:
    async def run() -> str:
        transport = httpx2.ASGITransport(desk.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
            return await station_of(desk.made).sign_in(client)

    assert asyncio.run(run())


def test_without_the_door_nothing_of_it_is_there(desk: Desk) -> None:
    from registry.access.opening import open_door

    door = open_door(desk.crew.database, desk.made.trusted.root, desk.crew.tokens)
    desk.services = replace(desk.services, particle=None, grants=door.grants)
    answer = desk.ask("POST", f"/v1/provisioning/{DEVICE}", b"{}")
    assert answer.status_code == 404
    asked = desk.send(Cli().password("ab" * 16, "x"))
    assert (asked.status_code, asked.json()["error"]) == (400, "unsupported_grant_type")
    paths = create_app(desk.services).openapi()["paths"]
    assert not [each for each in paths if "provisioning" in each or "access_tokens" in each]


def test_the_document_tells_of_the_door_where_it_is_open(desk: Desk) -> None:
    document = create_app(desk.services).openapi()
    told = document["paths"]["/v1/provisioning/{device_id}"]["post"]
    assert set(told["requestBody"]["content"]) == {"application/json", FORM}
    assert {"200", "202", "400", "401", "403", "422"} <= set(map(str, told["responses"]))
    assert told["security"] == [{"bearer": []}]
    form = document["paths"]["/oauth/token"]["post"]["requestBody"]["content"][FORM]["schema"]["$ref"]
    assert form.endswith("DoorTokenForm")
