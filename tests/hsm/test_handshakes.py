"""What the cloud signer does for devices' handshakes: it opens, and signs, for its own two keys and tells nobody why not."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.cli.output import status_lines
from hsm.handshakes import COUNTED_AHEAD
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from tests.hsm.local_signer import asked, make_factory, make_registry, make_root
from tests.hsm.software_token import SoftwareToken
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport, reported
from trust.keys import PublicKey
from trust.root import CloudKeys
from trust.root_file import parse, wrap

NONCE = bytes(range(40))
SHORT, LONG = b"i" * 12, b"i" * 12 + b"k" * 162
REFUSED = "the message is none for this handshake"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SoftwareToken:
    return SoftwareToken.make(tmp_path_factory.mktemp("cloud"), "cloud")


@pytest.fixture
def cloud(tmp_path: Path, token: SoftwareToken) -> Signatory:
    token.signed.clear()
    trusted = make_root({"st-01": SoftwareToken.make(tmp_path / "factory", "factory")}, "reg-01", token)
    return make_registry(tmp_path, "reg-01", trusted, token).signatory


def public(token: SoftwareToken, label: str = "cloud-tcp") -> rsa.RSAPublicKey:
    key = load_der_public_key(token.public_key(label))
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def message(token: SoftwareToken, plain: bytes) -> bytes:
    return public(token).encrypt(plain, padding.PKCS1v15())


def opened(cloud: Signatory, ciphertext: bytes, nonce: bytes = NONCE) -> bytes:
    return asked(cloud, "tcp_open", {"ciphertext": ciphertext, "nonce": nonce}, bytes)


@pytest.mark.parametrize("rest", [SHORT, LONG], ids=["id alone", "id and key"])
def test_it_opens_what_is_for_this_handshake(cloud: Signatory, token: SoftwareToken, rest: bytes) -> None:
    assert opened(cloud, message(token, NONCE + rest)) == rest
    assert not token.signed, "nothing is signed for it"


def test_whatever_is_wrong_is_told_alike(cloud: Signatory, token: SoftwareToken) -> None:
    """Padding, nonce and length; and a plaintext of nothing but zeros, as stands in for what does not open."""
    modulus = public(token).public_numbers().n
    other = rsa.generate_private_key(65537, 2048).public_key()
    wrong = {
        "no padding": os.urandom(256),
        "all ones": b"\xff" * 256,
        "nothing": bytes(256),
        "more than the modulus": (modulus + 1).to_bytes(256),
        "another key's": other.encrypt(NONCE + SHORT, padding.PKCS1v15()),
        "another nonce": message(token, bytes(40) + SHORT),
        "one bit of the nonce": message(token, NONCE[:39] + b"\x26" + SHORT),
        "a byte less": message(token, NONCE + SHORT[:-1]),
        "a byte more": message(token, NONCE + SHORT + b"x"),
        "a longer key": message(token, NONCE + LONG + b"x"),
        "empty": message(token, b""),
    }
    for name, ciphertext in wrong.items():
        with pytest.raises(SignerError) as caught:
            opened(cloud, ciphertext)
        assert (caught.value.code, str(caught.value)) == (Code.HANDSHAKE_REFUSED, REFUSED), name
    with pytest.raises(SignerError, match=REFUSED):
        opened(cloud, os.urandom(256), nonce=bytes(40))


def test_a_token_that_does_not_open_is_told_as_a_wrong_nonce(cloud: Signatory, token: SoftwareToken) -> None:
    token.open_rsa = lambda *_: None  # type: ignore[method-assign]
    try:
        for nonce in (NONCE, bytes(40)):
            with pytest.raises(SignerError, match=REFUSED):
                opened(cloud, message(token, NONCE + SHORT), nonce)
    finally:
        del token.open_rsa


def test_the_mac_is_signed_as_it_is_and_no_digest_info_is_around_it(cloud: Signatory, token: SoftwareToken) -> None:
    mac = hmac.digest(bytes(40), b"for the device", "sha1")
    made = asked(cloud, "tcp_sign", {"mac": mac}, bytes)
    numbers = public(token).public_numbers()
    block = pow(int.from_bytes(made), numbers.e, numbers.n).to_bytes(256)
    assert block == b"\x00\x01" + b"\xff" * 233 + b"\x00" + mac
    assert PublicKey.from_der(token.public_key("cloud-tcp")).recovers(made) == mac


def test_the_digest_is_signed_by_the_udp_key(cloud: Signatory, token: SoftwareToken) -> None:
    made = asked(cloud, "dtls_sign", {"digest": hashlib.sha256(b"key exchange").digest()}, bytes)
    assert PublicKey.from_der(token.public_key("cloud-udp")).verifies(made, b"key exchange")


def test_signatures_are_counted_ahead_and_never_fewer_than_were_made(cloud: Signatory, token: SoftwareToken) -> None:
    def counted(purpose: str) -> int:
        return cloud.counters.signatures().get(purpose, (0, 0))[0]

    for number in range(COUNTED_AHEAD + 1):
        asked(cloud, "dtls_sign", {"digest": number.to_bytes(32)}, bytes)
        assert token.signed["cloud-udp"] <= counted("cloud-udp")
    assert counted("cloud-udp") == 2 * COUNTED_AHEAD
    asked(cloud, "tcp_sign", {"mac": bytes(20)}, bytes)
    assert (counted("cloud-tcp"), counted("receipt")) == (COUNTED_AHEAD, 0)
    shown = {line.split()[1]: line for line in status_lines(asked(cloud, "status", {}, SignerStatus)) if "key " in line}
    assert shown["cloud-udp"].endswith(f"  at most {2 * COUNTED_AHEAD} signed"), (
        "people are not told more than is known"
    )
    assert shown["receipt"].endswith("  0 signed")


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("tcp_open", {"ciphertext": bytes(255), "nonce": bytes(40)}),
        ("tcp_open", {"ciphertext": bytes(256), "nonce": bytes(39)}),
        ("tcp_sign", {"mac": bytes(32)}),
        ("tcp_sign", {"mac": bytes(20), "purpose": "receipt"}),
        ("dtls_sign", {"digest": bytes(20)}),
    ],
)
def test_other_lengths_are_no_request(
    cloud: Signatory, token: SoftwareToken, verb: str, body: dict[str, bytes]
) -> None:
    with pytest.raises(SignerError) as caught:
        asked(cloud, verb, body, bytes)
    assert caught.value.code is Code.MALFORMED
    assert not token.signed


@pytest.mark.parametrize("verb", ["tcp_open", "tcp_sign", "dtls_sign", "sign_handshake"])
def test_the_factory_role_has_none_of_them(tmp_path: Path, token: SoftwareToken, verb: str) -> None:
    factory = SoftwareToken.make(tmp_path / "factory", "factory")
    trusted = make_root({"st-01": factory}, "reg-01", token)
    with pytest.raises(SignerError, match="no verb"):
        asked(make_factory(tmp_path, "st-01", trusted, factory).signatory, verb, {}, bytes)


@pytest.mark.parametrize(("verb", "body"), [("tcp_sign", {"mac": bytes(20)}), ("dtls_sign", {"digest": bytes(32)})])
def test_a_token_that_signs_wrongly_is_found(
    cloud: Signatory, token: SoftwareToken, monkeypatch: pytest.MonkeyPatch, verb: str, body: dict[str, bytes]
) -> None:
    real_mac, real_digest = token.sign_rsa, token.sign_ecdsa
    monkeypatch.setattr(token, "sign_rsa", lambda label, mac: real_mac(label, b"x" + mac[1:]))
    monkeypatch.setattr(token, "sign_ecdsa", lambda label, digest: real_digest(label, b"x" + digest[1:]))
    with pytest.raises(SignerUnavailableError, match="does not verify: take the token out of use"):
        asked(cloud, verb, body, bytes)


# ---- reports


NOW = 1_796_018_400.0  # 2026-11-30T06:00:00Z


@pytest.fixture
def reporting(tmp_path: Path, token: SoftwareToken) -> Signatory:
    """A cloud signer with a clock of its own."""
    token.signed.clear()
    trusted = make_root({"st-01": SoftwareToken.make(tmp_path / "factory", "factory")}, "reg-01", token)
    return make_registry(tmp_path, "reg-01", trusted, token, lambda: NOW).signatory


def report(signer: Signatory, token: SoftwareToken, **changes: Any) -> HandshakeReport:
    said = HandshakeReport(
        environment="demo", root_sha256=signer.trusted.sha256, registry="reg-01", station="st-01", order_id="order-1",
        job="5a" * 16, device_id="a1" * 12, fingerprint="01" * 32,
        cloud_fingerprint=PublicKey.from_der(token.public_key("cloud-udp")).fingerprint, protocol="udp",
        suite="ECDHE-ECDSA-AES128-CCM-8", transcript_sha256="ab" * 32, at="2026-11-30T06:00:00Z",
    )  # fmt: skip
    return msgspec.structs.replace(said, **changes)


def test_a_report_is_signed_by_the_handshake_key_and_once(reporting: Signatory, token: SoftwareToken) -> None:
    said = report(reporting, token)
    first = asked(reporting, "sign_handshake", {"report": said}, Envelope)
    assert reported(reporting.trusted, first) == said
    assert asked(reporting, "sign_handshake", {"report": said}, Envelope) == first
    assert token.signed == {"handshake": 1}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"registry": "reg-02"}, Code.NOT_AUTHORISED),
        ({"station": "st-99"}, Code.NOT_AUTHORISED),
        ({"environment": "site"}, Code.WRONG_ENVIRONMENT),
        ({"root_sha256": "12" * 32}, Code.WRONG_ROOT),
        ({"cloud_fingerprint": "12" * 32}, Code.STATEMENT_INVALID),
        ({"protocol": "tcp"}, Code.STATEMENT_INVALID),
        ({"at": "2026-11-30T06:05:01Z"}, Code.STATEMENT_INVALID),
        ({"at": "2026-11-30T05:54:59Z"}, Code.STATEMENT_INVALID),
        ({"at": "2026-13-30T06:00:00Z"}, Code.STATEMENT_INVALID),
    ],
)
def test_what_is_no_report_of_this_signers(
    reporting: Signatory, token: SoftwareToken, changes: dict[str, str], code: Code
) -> None:
    with pytest.raises(SignerError) as caught:
        asked(reporting, "sign_handshake", {"report": report(reporting, token, **changes)}, Envelope)
    assert caught.value.code is code
    assert not token.signed


def test_a_root_without_a_handshake_key_wants_none(cloud: Signatory, token: SoftwareToken) -> None:
    root = msgspec.structs.replace(cloud.trusted.root, cloud_keys=CloudKeys())
    without = replace(cloud, trusted=parse(wrap(root).to_json()))
    with pytest.raises(SignerError, match="names no handshake key"):
        asked(without, "sign_handshake", {"report": report(without, token)}, Envelope)


def test_purposes_that_decrypt_are_one() -> None:
    assert {each.value for each in Purpose if each.value.startswith("cloud")} == {"cloud-tcp", "cloud-udp"}
