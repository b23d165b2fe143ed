"""The request around the key: ids that differ, names instead of ids, bodies that are none; and who may ask at all."""

from __future__ import annotations

from typing import Any

from registry.access.caller import Role, Scope
from registry.telemetry.metrics import Metrics
from registry.telemetry.watching import Watching
from tests.registry.make import ec_key, public
from tests.registry.particle.desk import DEVICE, Desk
from tests.registry.particle.recorded import ApiJs

KEY = {"publicKey": public(ec_key()).to_pem(), "algorithm": "ecc"}
FORM = "application/x-www-form-urlencoded"

STRANGE: list[dict[str, Any]] = [
        {"algorithm": "ec"}, {"algorithm": "RSA"}, {"algorithm": ""}, {"publicKey": ["x"]}, {"publicKey": None},
        {"publicKey": {"type": "Buffer", "data": [45, 45]}}, {"publicKey": True}, {"product_id": "x"},
        {"product_id": -1}, {"order": {}}, {"filename": 1.5},
    ]  # fmt: skip
NO_BODIES = [
        ("application/json", b""), ("application/json", b"{"), ("application/json", b"[]"), ("application/json", b'"x"'),
        ("application/json", b"\xff"), ("application/json", b"[" * 60_000), ("text/plain", b"{}"), ("", b"{}"),
        ("application/json", b'{"publicKey":"a","publicKey":"b"}'), (FORM, b"publicKey=a&publicKey=b"),
        (FORM, b"publicKey"), (FORM, b"publicKey=%FF"), (FORM, b"\xff=1"), (FORM, b"&".join([b"a=1"] * 40)),
        ("multipart/form-data; boundary=x", b"--x--"),
]  # fmt: skip


def refused(answer: Any) -> tuple[int, str]:
    said = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(said["error_description"], str)
    return answer.status_code, said["error"]


def test_a_name_or_a_wrong_id_is_permission_denied(desk: Desk) -> None:
    token = desk.token()
    for path_id in ("my-photon", "e00fce68", DEVICE + "00", "g" * 24, "0" * 24, "F" * 24):
        answer = desk.key(KEY, token, path_id)
        assert refused(answer) == (403, "Permission Denied")
        assert "NAME" in answer.json()["error_description"]


def test_path_and_body_must_name_the_same_device(desk: Desk) -> None:
    token = desk.token()
    assert refused(desk.key({**KEY, "deviceID": "0" * 23 + "1"}, token)) == (400, "device_id_mismatch")
    assert refused(desk.key({**KEY, "deviceID": "my-photon"}, token)) == (400, "device_id_mismatch")
    assert desk.key({**KEY, "deviceID": DEVICE.upper()}, token).status_code == 202
    assert desk.key(KEY, token, DEVICE.upper()).status_code == 202
    assert [str(each.device) for each in desk.heard.proposals] == [DEVICE, DEVICE]


def test_fields_that_are_not_theirs_are_refused(desk: Desk) -> None:
    token = desk.token()
    for changes in STRANGE:
        assert refused(desk.key({**KEY, **changes}, token)) == (400, "invalid_request"), changes
    assert desk.heard.proposals == []


def test_what_clients_add_is_left_alone_and_the_algorithm_may_be_missing(desk: Desk) -> None:
    fields = {"publicKey": KEY["publicKey"], "sandwich": {"cheese": True}, "product_id": 12}
    assert desk.key(fields, desk.token()).status_code == 202
    assert desk.heard.proposals[0].note == "product 12"


def test_bodies_that_are_none_are_refused(desk: Desk) -> None:
    token = desk.token()
    for kind, body in NO_BODIES:
        headers = {"authorization": f"Bearer {token}", **({"content_type": kind} if kind else {})}
        answer = desk.ask("POST", f"/v1/provisioning/{DEVICE}", body, **headers)
        assert refused(answer) == (400, "invalid_request"), (kind, body[:40])


def test_foreign_words_beside_a_key_are_one_printable_line(desk: Desk) -> None:
    fields = {**KEY, "filename": "a\n\x1b[31mb", "order": "o" * 500}
    assert desk.key(fields, desk.token()).status_code == 202
    note = desk.heard.proposals[0].note
    assert note.isprintable()
    assert len(note) < 200


def test_who_has_no_token_or_the_wrong_one_is_told_in_the_doors_words(desk: Desk) -> None:
    path = f"/v1/provisioning/{DEVICE}"
    assert refused(desk.ask("POST", path, b"{}")) == (401, "invalid_token")
    answer = desk.ask("POST", path, b"{}", authorization="Bearer nobodys")
    assert refused(answer) == (401, "invalid_token")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert refused(desk.ask("POST", f"{path}?access_token=x", b"{}")) == (401, "invalid_token")
    assert refused(desk.ask("DELETE", "/v1/access_tokens/current")) == (401, "invalid_token")


def test_other_roles_get_no_token_here_and_may_not_propose_with_a_session(desk: Desk) -> None:
    for role in set(Role) - {Role.LEAD, Role.ENGINEER, Role.SUPPORT}:
        member = desk.crew.member(role)
        session = desk.crew.sign_in(member).session.token
        assert refused(desk.key(KEY, session)) == (403, "Permission Denied")
        desk.crew.clock.ahead(30)
        asked = desk.send(ApiJs().password(member.user_id, member.password))
        answer = desk.send(ApiJs().code(asked.json()["mfa_token"], member.code()))
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")


def test_an_api_token_for_something_else_is_not_enough(desk: Desk) -> None:
    from datetime import timedelta

    member = desk.crew.member(Role.LEAD)
    token = desk.crew.tokens.issue(member.user_id, "reads", frozenset({Scope.PINS_READ}), timedelta(days=1)).token
    assert refused(desk.key(KEY, token)) == (403, "insufficient_scope")


def test_limits_and_faults_speak_the_doors_words_on_its_paths_alone(desk: Desk) -> None:
    path, big = f"/v1/provisioning/{DEVICE}", b"x" * 70_000
    assert refused(desk.ask("POST", path, big)) == (413, "invalid_request")
    assert refused(desk.ask("PUT", path)) == (405, "not_found")
    assert refused(desk.ask("DELETE", "/v1/access_tokens/other")) == (404, "not_found")
    desk.heard.refusal = ValueError("a bug")  # type: ignore[assignment]
    assert refused(desk.key(KEY, desk.token())) == (500, "server_error")
    elsewhere = desk.ask("POST", "/v1/leases", big)
    assert elsewhere.json()["error"]["code"] == "too-large"


def test_what_was_proposed_can_be_read_back(desk: Desk) -> None:
    bearer = {"authorization": f"Bearer {(token := desk.token())}"}
    fingerprint = desk.key(KEY, token).json()["fingerprint"]
    answer = desk.ask("GET", f"/v1/provisioning/{DEVICE}", **bearer)
    told = {"ok": True, "id": DEVICE, "keys": [{"fingerprint": fingerprint, "state": "proposed"}]}
    assert (answer.status_code, answer.json()) == (200, told)
    assert refused(desk.ask("GET", "/v1/provisioning/my-photon", **bearer)) == (403, "Permission Denied")


def test_refusals_are_counted_by_this_registrys_own_code(desk: Desk) -> None:
    token, metrics = desk.token(), Metrics(version="1", environment="demo")
    desk.served, desk.application = desk.services, Watching(desk.app, metrics)
    desk.key({**KEY, "algorithm": "x"}, token)
    desk.key(KEY, "nobodys")
    desk.ask("POST", "/oauth/token", b"", content_type=FORM)
    told = metrics.text().decode()
    assert 'code="malformed"} 2' in told
    assert 'code="access-token-invalid"} 1' in told
