"""Envelopes: one spelling of the JSON, exactly one signature and by the key that it names, payloads compared and not signatures."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.hsm.repeated_nonce import P256_ORDER
from tests.trust.documents import ec_key, spki
from trust.dsse import MAX_ENVELOPE_BYTES, Envelope, EnvelopeError, Signature, pae
from trust.keys import PublicKey

KIND = "application/vnd.example.v1+json"
KEY, OTHER = ec_key(), ec_key()


def public(key: ec.EllipticCurvePrivateKey) -> PublicKey:
    return PublicKey.from_der(spki(key))


def by(key: ec.EllipticCurvePrivateKey, payload: bytes = b"{}", kind: str = KIND) -> Signature:
    return Signature(public(key).fingerprint, key.sign(pae(kind, payload), ec.ECDSA(hashes.SHA256())))


def made(*signatures: Signature, payload: bytes = b"{}", kind: str = KIND) -> Envelope:
    return Envelope(payload, kind, signatures)


def test_a_signature_by_the_key_and_by_it_alone() -> None:
    assert made(by(KEY)).signed_by(public(KEY))
    assert not made(by(KEY)).signed_by(public(OTHER))


JUNK = Signature(public(OTHER).fingerprint, b"junk")


@pytest.mark.parametrize(
    "signatures",
    [
        (),
        (by(KEY), by(KEY)),
        (by(KEY), by(OTHER)),
        (by(OTHER), by(KEY)),
        (by(KEY), JUNK),
        (JUNK, by(KEY)),
        (JUNK,),
    ],
    ids=["none", "twice", "another beside it", "another before it", "junk beside it", "junk before it", "junk"],
)
def test_exactly_one_signature(signatures: tuple[Signature, ...]) -> None:
    assert not made(*signatures).signed_by(public(KEY))


@pytest.mark.parametrize(
    "keyid",
    ["", "00" * 32, public(OTHER).fingerprint, public(KEY).fingerprint.upper()],
    ids=["none", "zeros", "another's", "capitals"],
)
def test_the_key_that_it_claims_is_the_key(keyid: str) -> None:
    assert not made(Signature(keyid, by(KEY).sig)).signed_by(public(KEY))


@pytest.mark.parametrize(
    "envelope",
    [made(by(KEY), payload=b"{ }"), made(by(KEY), kind=KIND + "x"), made(by(KEY, kind=KIND + "x")), made(by(KEY, b""))],
    ids=["payload", "type", "signed as another type", "signed over nothing"],
)
def test_what_is_signed_is_payload_and_type(envelope: Envelope) -> None:
    assert not envelope.signed_by(public(KEY))


def test_a_mirrored_signature_is_another_envelope_of_the_same_statement() -> None:
    """ECDSA takes (r, n - s) for (r, s): who compares whole envelopes is told a difference that is none."""
    first = made(by(KEY))
    r, s = decode_dss_signature(first.signatures[0].sig)
    mirrored = made(Signature(public(KEY).fingerprint, encode_dss_signature(r, P256_ORDER - s)))
    assert mirrored.signed_by(public(KEY))
    assert mirrored != first
    assert mirrored.to_json() != first.to_json()
    assert mirrored.same_statement(first) and first.same_statement(mirrored)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (made(), True),
        (made(by(OTHER)), True),
        (made(by(KEY), by(OTHER)), True),
        (made(payload=b"{ }"), False),
        (made(kind=KIND + "x"), False),
    ],
)
def test_the_same_statement_is_payload_and_type(other: Envelope, *, same: bool) -> None:
    assert made(by(KEY)).same_statement(other) is same


def test_the_bytes_that_are_signed() -> None:
    """The example of the DSSE protocol, v1.0.2."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "
    assert made().pae == pae(KIND, b"{}")
    assert made(payload=b"abc").payload_sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_bare_openssl_checks_one(tmp_path: Path) -> None:
    envelope = made(by(KEY))
    (tmp_path / "key.pem").write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "sig").write_bytes(envelope.signatures[0].sig)
    for message, holds in ((envelope.pae, True), (envelope.pae + b" ", False)):
        (tmp_path / "message").write_bytes(message)
        words = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "message"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode == 0) is holds


# ---- JSON


def spelt(**changes: Any) -> bytes:
    whole = {
        "payload": base64.b64encode(b"{}").decode(),
        "payloadType": KIND,
        "signatures": [{"keyid": "ab", "sig": "AAA="}],
    }
    return json.dumps(whole | changes, separators=(",", ":")).encode()


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)), b"x" * 40_000])
@pytest.mark.parametrize("signatures", [(), (by(KEY),), (by(KEY), JUNK)], ids=["none", "one", "two"])
def test_round_trip(payload: bytes, signatures: tuple[Signature, ...]) -> None:
    envelope = made(*signatures, payload=payload)
    assert Envelope.from_json(envelope.to_json()) == envelope
    assert Envelope.from_json(envelope.to_json()).to_json() == envelope.to_json()


def test_the_one_spelling() -> None:
    assert Envelope.from_json(spelt()).to_json() == spelt()


NOT_CANONICAL = {
    "space": spelt().replace(b":", b": ", 1),
    "newline": spelt() + b"\n",
    "order": json.dumps(dict(reversed(json.loads(spelt()).items())), separators=(",", ":")).encode(),
    "order inside": spelt(signatures=[{"sig": "AAA=", "keyid": "ab"}]),
    "a key twice": spelt().replace(b'{"payload"', b'{"payload":"e30=","payload"', 1),
    "escaped": spelt().replace(b"keyid", b"\\u006beyid"),
    "base64 without padding": spelt(payload="e30"),
    "base64 with stray bits": spelt(payload="e31="),
}
NO_ENVELOPE = {
    "nothing": b"",
    "not JSON": b"{",
    "not UTF-8": b'{"payload":"\xff"}',
    "a list": b"[]",
    "null": b"null",
    "no type": b'{"payload":"e30=","signatures":[]}',
    "no payload": spelt().replace(b'"payload"', b'"pay"'),
    "another field": spelt(x=1),
    "another field inside": spelt(signatures=[{"keyid": "ab", "sig": "AAA=", "x": 1}]),
    "a payload that is no text": spelt(payload=1),
    "a payload that is no base64": spelt(payload="?"),
    "one signature for the list": spelt(signatures={"keyid": "ab", "sig": "AAA="}),
    "a signature without its key": spelt(signatures=[{"sig": "AAA="}]),
    "nested": b"[" * 30_000,
    "two": spelt() * 2,
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError):
        Envelope.from_json(data)


@pytest.mark.parametrize("data", NO_ENVELOPE.values(), ids=NO_ENVELOPE)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(EnvelopeError, match="not a DSSE envelope: ") as caught:
        Envelope.from_json(data)
    assert str(caught.value).isprintable()


def test_a_foreign_key_does_not_flood_the_sentence() -> None:
    with pytest.raises(EnvelopeError) as caught:
        Envelope.from_json(spelt(**{"\x1b[31m" + "x" * 20_000: 1}))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_the_largest_is_taken_and_one_byte_more_is_not() -> None:
    room = MAX_ENVELOPE_BYTES - len(made().to_json())
    kind = KIND + "x" * (room - 1)
    assert Envelope.from_json(made(kind=kind + "x").to_json()).payload == b"{}"
    assert len(made(kind=kind + "x").to_json()) == MAX_ENVELOPE_BYTES
    with pytest.raises(EnvelopeError, match="65536 bytes: at most 65535 "):
        Envelope.from_json(made(kind=kind + "xx").to_json())


def test_an_envelope_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        made().payload = b"other"  # type: ignore[misc]
    assert msgspec.structs.replace(made(), payload=b"other") != made()
