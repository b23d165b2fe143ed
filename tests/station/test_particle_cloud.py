"""The client of Particle's API: what it sends, what it believes, and that it ends what it opened."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs

import pytest

from registry.tls import make_certificate
from station import proposing
from station.cloud.particle import (
    ParticleCloud,
    ParticleRefusedError,
    ParticleUnreachableError,
    Proposal,
    SecondFactorWanted,
    Token,
)
from station.faults import Fault
from station.proposing import OutcomeUnknownError
from tests.docs.pages import TOP
from tests.registry.make import ec_key, public, rsa_key
from tests.station.particle_cloud import HTML, Answer, Certificate, Liar, served
from tests.station.proxies import Proxy, serving
from trust.identity import DeviceId

DEVICE = "e00fce6800000000000000ab"
PATH = f"/v1/provisioning/{DEVICE}"
KEY = public(ec_key())
PROPOSAL = Proposal(device=DeviceId.parse(DEVICE), key=KEY)
OK = (200, "application/json", b'{"ok":true}')
T = TypeVar("T")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("tls"))


def ask(own: Certificate, liar: Liar, work: Callable[[ParticleCloud], Coroutine[Any, Any, T]], **more: Any) -> T:
    async def run() -> T:
        with served(liar, own) as url:
            cloud = ParticleCloud(url, tls_root=own.pem, **more)
            try:
                return await work(cloud)
            finally:
                await cloud.close()

    return asyncio.run(run())


def shown(*keys: tuple[str, str], device: str = DEVICE) -> Answer:
    said = {"ok": True, "id": device, "keys": [{"fingerprint": name, "state": state} for name, state in keys]}
    return 200, "application/json", json.dumps(said).encode()


@pytest.mark.parametrize("key", [KEY, public(rsa_key())], ids=["ecc", "rsa"])
def test_what_is_sent_is_what_particles_own_client_sends(own: Certificate, key: Any) -> None:
    liar = Liar({("POST", PATH): OK})
    proposal = Proposal(device=PROPOSAL.device, key=key, product="12")
    assert ask(own, liar, lambda cloud: cloud.propose(proposal, Token("T0"))) == "taken"
    ((method, path, body, headers),) = liar.asked
    fields = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
    assert (method, path) == ("POST", PATH)
    assert headers["authorization"] == "Bearer T0"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    algorithm = "ecc" if key is KEY else "rsa"
    assert fields.pop("order").startswith("manual_")
    assert fields == {
        "deviceID": DEVICE, "publicKey": key.to_pem(), "filename": "keystation", "algorithm": algorithm,
        "product_id": "12",
    }  # fmt: skip


LIES: dict[str, Answer] = {
    "502 in HTML": HTML,
    "200 in HTML": (200, "text/html", b"<html>ok</html>"),
    "200 that is not ok": (200, "application/json", b'{"ok":false,"errors":["no"]}'),
    "200 with an error": (200, "application/json", b'{"ok":true,"error":"Permission Denied"}'),
    "200 without anything": (200, "application/json", b""),
    "200 with another object": (200, "application/json", b'{"hello":1}'),
    "200 with words": (200, "application/json", b'"Success!"'),
    "200 of another kind": (200, "text/plain", b'{"ok":true}'),
    "200 about another device": (200, "application/json", b'{"ok":true,"id":"%s"}' % (b"0" * 23 + b"1")),
    "200 about another key": (
        202, "application/json", b'{"ok":true,"id":"%s","state":"pinned","fingerprint":"00"}' % DEVICE.encode(),
    ),
    "200 without end": (200, "application/json", b"[" * 70_000),
    "a redirect": (302, "text/html", b""),
    "503 in JSON": (503, "application/json", b'{"error":"temporarily_unavailable"}'),
    "429": (429, "application/json", b'{"error":"too_many_requests"}'),
    "400 without a word": (400, "application/json", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_no_lie_is_believed(own: Certificate, name: str) -> None:
    liar = Liar({("POST", PATH): LIES[name]})
    with pytest.raises(ParticleUnreachableError):
        ask(own, liar, lambda cloud: cloud.propose(PROPOSAL, Token("T0")))
    with pytest.raises(OutcomeUnknownError, match="again"):
        ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))


def test_control_the_truth_is_believed(own: Certificate) -> None:
    liar = Liar({("POST", PATH): OK})
    outcome = ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))
    assert (outcome.state, outcome.read_back) == ("taken", "not-shown")
    assert (outcome.said["receipt"], outcome.said["completion"]) == (None, None)


@pytest.mark.parametrize(("status", "error"), [(403, "Permission Denied"), (401, "invalid_token"), (422, "weak")])
def test_a_refusal_is_told_with_its_word(own: Certificate, status: int, error: str) -> None:
    body = json.dumps({"error": error, "error_description": "because\n\x1b[31m"}).encode()
    liar = Liar({("POST", PATH): (status, "application/json", body)})
    with pytest.raises(ParticleRefusedError) as caught:
        ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))
    assert (caught.value.status, caught.value.error) == (status, error)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("status", "error"), [(404, "not_found"), (400, "unsupported_grant_type")])
def test_a_door_that_is_shut_is_said_to_be(own: Certificate, status: int, error: str) -> None:
    body = json.dumps({"error": error, "error_description": "no such route"}).encode()
    liar = Liar({("POST", PATH): (status, "application/json", body)})
    with pytest.raises(ParticleRefusedError, match="particle_door = true"):
        ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))


def test_only_signing_in_asks_for_a_second_factor(own: Certificate) -> None:
    """Everywhere else its word is a refusal: no error leaves this client that its callers do not know."""
    mfa = (403, "application/json", b'{"error":"mfa_required","mfa_token":"MT"}')
    liar = Liar({("POST", PATH): mfa, ("GET", PATH): mfa, ("POST", "/oauth/token"): mfa})
    asked: list[Callable[[ParticleCloud], Coroutine[Any, Any, object]]] = [
        lambda cloud: cloud.propose(PROPOSAL, Token("T0")),
        lambda cloud: cloud.held(PROPOSAL.device, Token("T0")),
        lambda cloud: cloud.second_factor(SecondFactorWanted("MT"), "123456"),
        lambda cloud: cloud.client_token("a", "b"),
    ]
    for work in asked:
        with pytest.raises(ParticleRefusedError) as caught:
            ask(own, liar, work)
        assert (caught.value.status, caught.value.error) == (403, "mfa_required")
        assert "MT" not in str(caught.value)
    assert ask(own, liar, lambda cloud: cloud.log_in("somebody", "password")) == SecondFactorWanted("MT")


def test_an_answer_that_was_lost_is_looked_for(own: Certificate) -> None:
    liar = Liar({("POST", PATH): HTML, ("GET", PATH): shown((KEY.fingerprint, "proposed"))})
    outcome = ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))
    assert (outcome.state, outcome.read_back) == ("proposed", "same")


@pytest.mark.parametrize(
    "held", [shown(), shown(("ab" * 32, "pinned")), shown((KEY.fingerprint, "pinned"), device="ab" * 12), HTML]
)
def test_a_key_that_cannot_be_read_back_is_no_success(own: Certificate, held: Answer) -> None:
    liar = Liar({("POST", PATH): OK, ("GET", PATH): held})
    with pytest.raises(OutcomeUnknownError):
        ask(own, liar, lambda cloud: proposing.propose(cloud, PROPOSAL, Token("T0")))


def test_a_token_from_signing_in_is_ended_whatever_happens(own: Certificate, tmp_path: Path) -> None:
    mfa = b'{"error":"mfa_required","mfa_token":"MT"}'
    token = b'{"token_type":"bearer","access_token":"T0","expires_in":1}'
    liar = Liar({("DELETE", "/v1/access_tokens/current"): OK})
    steps = iter([(403, "application/json", mfa), (200, "application/json", token)])

    async def signed(cloud: ParticleCloud) -> None:
        async def code() -> str:
            liar.answers["POST", "/oauth/token"] = next(steps)
            return "123456"

        liar.answers["POST", "/oauth/token"] = next(steps)
        async with proposing.signed_in(cloud, "somebody", "p w&x", code) as found:
            assert found == Token("T0")
            raise RuntimeError("in the block")

    with pytest.raises(RuntimeError, match="in the block"):
        ask(own, liar, signed)
    assert [(method, path) for method, path, _, _ in liar.asked][-1] == ("DELETE", "/v1/access_tokens/current")
    assert parse_qs(liar.asked[0][2].decode())["password"] == ["p w&x"]
    assert parse_qs(liar.asked[1][2].decode())["otp"] == ["123456"]
    assert "T0" not in repr(Token("T0")) + repr(SecondFactorWanted("T0"))


def test_it_goes_by_the_proxy_that_is_given_and_by_no_other(own: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    liar = Liar({("POST", PATH): OK})
    assert ask(own, liar, lambda cloud: cloud.propose(PROPOSAL, Token("T0"))) == "taken"
    with serving(Proxy()) as proxy:
        assert ask(own, liar, lambda cloud: cloud.propose(PROPOSAL, Token("T0")), proxy=proxy.url) == "taken"
    assert [each.split()[0] for each in proxy.asked] == ["CONNECT"]
    with serving(Proxy(status="403 Forbidden")) as proxy, pytest.raises(ParticleUnreachableError, match="403"):
        ask(own, liar, lambda cloud: cloud.propose(PROPOSAL, Token("T0")), proxy=proxy.url)
    assert "T0" not in "".join(proxy.asked)


def test_only_https_and_only_the_certificate_that_is_trusted(own: Certificate) -> None:
    with pytest.raises(ValueError, match="https"):
        ParticleCloud("http://localhost")
    with served(Liar({}), own) as url:
        with pytest.raises(ParticleUnreachableError, match=r"does not verify under those .* --tls-root tls\.crt"):
            asyncio.run(ParticleCloud(url).propose(PROPOSAL, Token("T0")))
        other = make_certificate("localhost", "another")[1].decode()
        with pytest.raises(ParticleUnreachableError, match="does not verify under that of --tls-root"):
            asyncio.run(ParticleCloud(url, tls_root=other).propose(PROPOSAL, Token("T0")))


@pytest.mark.parametrize("tls_root", ["", "\n", "no certificate\n", "-----BEGIN CERTIFICATE-----\n"])
def test_a_tls_root_without_a_certificate_trusts_nobody(tls_root: str, tmp_path: Path) -> None:
    """Of an empty one the library would trust every authority of the system."""
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        ParticleCloud("https://localhost", tls_root=tls_root)

    config_file = tmp_path / "config.toml"
    config_file.write_bytes((TOP / "config.example.toml").read_bytes())

    async def run() -> None:
        async with proposing.opened(config_file, "https://localhost", tls_root):
            raise AssertionError("it was opened")

    with pytest.raises(Fault, match="correct --url, or --tls-root") as caught:
        asyncio.run(run())
    assert caught.value.code == "setup"


def test_control_no_tls_root_is_the_systems_and_one_is_that_one(own: Certificate) -> None:
    def trusted(tls_root: str | None) -> list[Any]:
        return ParticleCloud(
            "https://localhost", tls_root=tls_root
        )._client._transport._pool._ssl_context.get_ca_certs()

    assert len(trusted(own.pem)) == 1
    assert trusted(None) == ssl.create_default_context().get_ca_certs()


def test_a_cloud_that_does_not_answer_is_waited_for_no_longer_than_said(own: Certificate) -> None:
    async def silent(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(2)

    async def run() -> None:
        with served(silent, own) as url, pytest.raises(ParticleUnreachableError, match=r"within 0\.3 s"):
            await ParticleCloud(url, tls_root=own.pem, timeout_s=0.3).propose(PROPOSAL, Token("T0"))

    asyncio.run(run())
