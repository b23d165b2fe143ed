"""A fresh token's user PIN and keys: for the ceremony, in a process that has no session of its own.

Keys are made inside the token, sensitive and not extractable. Never overwrites one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from hsm.purposes import KeyKind, Purpose
from hsm.token.pkcs11.keys import spki_of
from hsm.token.pkcs11.place import TokenPlace, locked
from hsm.token.pkcs11.refusal import refusal
from hsm.token.user_pin import UserPin

_RSA_BITS = 2048
_ED25519_OID: Final = bytes.fromhex("06032b6570")  # RFC 8410 §3; SoftHSM refuses other spellings


def make_keys(
    place: TokenPlace, so_pin: UserPin, user_pin: UserPin, wanted: Mapping[Purpose, KeyKind]
) -> dict[str, bytes]:
    """Set the user PIN of a fresh token and make its keys inside it; public keys (SPKI DER) by label. TokenError."""
    with locked(place.lock):
        try:
            token = pkcs11.lib(str(place.module)).get_token(token_label=place.label)
            with token.open(rw=True, so_pin=so_pin.reveal()) as session:
                session.init_pin(user_pin.reveal())
            with token.open(rw=True, user_pin=user_pin.reveal()) as session:
                eddsa = Mechanism.EDDSA in token.slot.get_mechanisms()
                return {label: _make_key(session, label, kind, eddsa=eddsa) for label, kind in wanted.items()}
        except pkcs11.PKCS11Error as error:
            raise refusal(place.label, error) from error


def _make_key(session: pkcs11.Session, label: Purpose, kind: KeyKind, *, eddsa: bool) -> bytes:
    private = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    if kind is KeyKind.RSA_2048:
        public, _ = session.generate_keypair(
            KeyType.RSA,
            _RSA_BITS,
            label=label,
            store=True,
            mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN,
            private_template=private,
        )
        return spki_of(public)
    if kind is KeyKind.LOG and eddsa:
        curve, key_type, mechanism = _ED25519_OID, KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    else:
        curve, key_type, mechanism = encode_named_curve_parameters("secp256r1"), KeyType.EC, Mechanism.EC_KEY_PAIR_GEN
    parameters = session.create_domain_parameters(key_type, {Attribute.EC_PARAMS: curve}, local=True)
    public, _ = parameters.generate_keypair(label=label, store=True, mechanism=mechanism, private_template=private)
    return spki_of(public)
