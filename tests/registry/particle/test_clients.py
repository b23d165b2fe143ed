"""What Particle's clients send, byte for byte, and what they look at in the answers."""

from __future__ import annotations

import pytest

from registry.access.caller import Role, Scope
from registry.errors import RefusedError
from tests.registry.make import ec_key, public, rsa_key
from tests.registry.particle.desk import DEVICE, Desk
from tests.registry.particle.recorded import ApiJs, Cli
from trust.codes import Code

CLIENTS = [Cli(), ApiJs()]
each_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda each: each.name)


@each_client
@pytest.mark.parametrize("algorithm", ["ecc", "rsa"])
def test_logs_in_proposes_a_key_and_logs_out(desk: Desk, client: Cli | ApiJs, algorithm: str) -> None:
    key = public(ec_key() if algorithm == "ecc" else rsa_key())
    token = desk.log_in(client, member := desk.crew.member(Role.ENGINEER))
    answer = desk.send(client.key(DEVICE, key.to_pem(), algorithm, token))
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert (said["ok"], said["state"], said["id"], said["fingerprint"]) == (True, "proposed", DEVICE, key.fingerprint)
    assert "error" not in said
    assert "not pinned" in said["message"]
    (heard,) = desk.heard.proposals
    assert (str(heard.device), heard.key, heard.by.user_id) == (DEVICE, key, member.user_id)
    assert "order manual_1796019281089" in heard.note
    assert desk.send(client.logout(token)).json() == {"ok": True}
    again = desk.send(client.key(DEVICE, key.to_pem(), algorithm, token))
    assert (again.status_code, again.json()["error"]) == (401, "invalid_token")
    assert len(desk.heard.proposals) == 1


def test_the_product_of_the_cli_is_told(desk: Desk) -> None:
    request = Cli().key(DEVICE, public(rsa_key()).to_pem(), "rsa", desk.token(), product="12")
    assert desk.send(request).status_code == 202
    assert desk.heard.proposals[0].note == "order manual_1796019281089, file cli, product 12"


@each_client
def test_a_token_of_the_door_proposes_and_does_nothing_else(desk: Desk, client: Cli | ApiJs) -> None:
    token = desk.log_in(client, member := desk.crew.member(Role.LEAD))
    caller = desk.crew.tokens.caller(token)
    assert caller is not None
    assert (caller.scopes, caller.second_factor) == (frozenset({Scope.KEYS_PROPOSE}), False)
    bearer = {"authorization": f"Bearer {token}"}
    for path in (f"/v1/pins/{DEVICE}", "/v1/api-tokens", "/v1/users"):
        assert desk.ask("GET", path, **bearer).status_code == 403
    (listed,) = desk.crew.tokens.of_user(member.user_id)
    assert (listed.name, listed.scopes) == ("particle", ("keys:propose",))


def test_a_token_ends_after_twelve_hours_however_long_is_asked(desk: Desk) -> None:
    member = desk.crew.member(Role.SUPPORT)
    token = desk.log_in(ApiJs(), member)  # its password request asks for ninety days
    desk.crew.clock.ahead(12 * 3600 + 1)
    answer = desk.send(ApiJs().key(DEVICE, public(ec_key()).to_pem(), "ecc", token))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


def test_the_tokens_answer_is_what_both_clients_read(desk: Desk) -> None:
    member = desk.crew.member(Role.ENGINEER)
    asked = desk.send(Cli().password(member.user_id, member.password))
    assert set(asked.json()) == {"error", "error_description", "code", "mfa_token"}
    answer = desk.send(Cli().code(asked.json()["mfa_token"], member.code()))
    said = answer.json()
    assert (said["token_type"], said["expires_in"], said["scope"]) == ("bearer", 43_200, "keys:propose")
    assert answer.headers["cache-control"] == "no-store"


def test_client_credentials_are_a_user_and_its_api_token(desk: Desk) -> None:
    member = desk.crew.member(Role.ENGINEER)
    from datetime import timedelta

    made = desk.crew.tokens.issue(member.user_id, "line 3", frozenset({Scope.KEYS_PROPOSE}), timedelta(days=1))
    answer = desk.send(ApiJs().client(member.user_id, made.token))
    assert (answer.status_code, answer.json()["access_token"], answer.json()["expires_in"]) == (200, made.token, 86_400)
    request = ApiJs().key(DEVICE, public(ec_key()).to_pem(), "ecc", answer.json()["access_token"])
    assert desk.send(request).status_code == 202


@each_client
def test_what_the_registry_refuses_has_a_status_and_one_error_string(desk: Desk, client: Cli | ApiJs) -> None:
    token = desk.token()
    for code, status, error in (
        (Code.NOT_PINNED, 403, "Permission Denied"),
        (Code.DEVICE_SCRAPPED, 403, "Permission Denied"),
        (Code.KEY_ON_OTHER_DEVICE, 409, "key_on_other_device"),
    ):
        desk.heard.refusal = RefusedError(code, "why, and what to do")
        answer = desk.send(client.key(DEVICE, public(ec_key()).to_pem(), "ecc", token))
        said = answer.json()
        assert (answer.status_code, said["error"], said["error_description"]) == (status, error, "why, and what to do")


def test_a_key_that_is_pinned_already_is_200(desk: Desk) -> None:
    desk.heard.state = "pinned"
    answer = desk.send(Cli().key(DEVICE, public(ec_key()).to_pem(), "ecc", desk.token()))
    assert (answer.status_code, answer.json()["state"]) == (200, "pinned")
