"""The client assertion is RFC 7523 with RFC 10070's type and audience, signed by the client key in JWS form."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from hsm.signer import SignerError
from tests.hsm.local_signer import Parties
from trust.codes import Code
from trust.keys import PublicKey

ISSUER = "https://registry.example"


def _decoded(part: str) -> bytes:
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_header_claims_and_signature(parties: Parties) -> None:
    header, claims, signature = parties.factory.client_assertion(ISSUER).split(".")
    key = PublicKey.from_der(parties.trusted.root.station("st-01").client)
    assert json.loads(_decoded(header)) == {"alg": "ES256", "typ": "client-authentication+jwt", "kid": key.fingerprint}
    said = json.loads(_decoded(claims))
    assert said["iss"] == said["sub"] == "st-01"
    assert said["aud"] == ISSUER, "the issuer is the only audience, as a string"
    assert said["exp"] - said["iat"] == 60
    raw = _decoded(signature)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    assert key.verifies(der, f"{header}.{claims}".encode())


def test_each_assertion_is_a_new_one_and_counted(parties: Parties) -> None:
    identifiers = {
        json.loads(_decoded(parties.factory.client_assertion(ISSUER).split(".")[1]))["jti"] for _ in range(5)
    }
    assert len(identifiers) == 5
    assert parties.factory.status().signatures["client"] == parties.factory_token.signed["client"] == 5


@pytest.mark.parametrize("audience", ["https://registry.example/token", "https://evil.example", "", f"{ISSUER}/"])
def test_another_audience_is_refused(parties: Parties, audience: str) -> None:
    with pytest.raises(SignerError) as caught:
        parties.factory.client_assertion(audience)
    assert caught.value.code is Code.NOT_AUTHORISED
    assert parties.factory_token.signed.total() == 0
