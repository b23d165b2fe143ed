"""A token's keys, made: for init and officers' acts, in a process that has no session of its own.

Keys are made inside the token, sensitive, not extractable, to do what their purpose needs and nothing else, and each is
looked at again before it counts as made. Never overwrites one, and takes back what it made when it cannot finish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.constants import DEFAULT
from pkcs11.util.ec import encode_named_curve_parameters

from hsm.purposes import DECRYPTS, KeyKind, Purpose
from hsm.token import TokenError
from hsm.token.pkcs11.keys import look_up
from hsm.token.pkcs11.module import chosen_for, fitting
from hsm.token.pkcs11.place import TokenPlace, locked
from hsm.token.pkcs11.refusal import refusal
from hsm.token.profile import Chosen, Profile
from hsm.token.user_pin import UserPin

_RSA_BITS = 2048
_SIGNING: Final = MechanismFlag.SIGN | MechanismFlag.VERIFY
_DECRYPTING: Final = MechanismFlag.DECRYPT | MechanismFlag.ENCRYPT
_LAST_TRY: Final = TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED


def set_user_pin(place: TokenPlace, so_pin: UserPin, user_pin: UserPin) -> None:
    """Give a fresh token its user PIN, as its security officer; TokenError."""
    with locked(place.lock):
        try:
            with _token(place).open(rw=True, so_pin=so_pin.reveal()) as session:
                session.init_pin(user_pin.reveal())
        except pkcs11.PKCS11Error as error:
            raise refusal(place.label, error) from error


def make_keys(
    place: TokenPlace, user_pin: UserPin, wanted: Mapping[Purpose, KeyKind], *, beside_others: bool = False
) -> tuple[dict[str, bytes], Chosen]:
    """Make the keys inside an initialised token; public keys (SPKI DER) by label, and the profile used. TokenError.

    A token that has a key under any purpose's name already is refused as it is; `beside_others`: under a wanted one's.
    """
    with locked(place.lock):
        try:
            token = _token(place)
            chosen = chosen_for(place, token)
            if token.flags & _LAST_TRY:
                raise TokenError(f"token {place.label!r}: one try of the user PIN is left, or none: reset it first")
            with token.open(rw=True, user_pin=fitting(chosen.profile, user_pin)) as session:
                _require_free(session, place.label, wanted if beside_others else Purpose)
                return _make_all(session, wanted, chosen.profile), chosen
        except pkcs11.PKCS11Error as error:
            raise refusal(place.label, error) from error


def _token(place: TokenPlace) -> pkcs11.Token:
    return pkcs11.lib(str(place.module)).get_token(token_label=place.label)


def _require_free(session: pkcs11.Session, token_label: str, names: Iterable[Purpose]) -> None:
    ours = {purpose.value for purpose in names}
    there: set[str] = set()
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        there |= ours & {str(key[Attribute.LABEL]) for key in list(session.get_objects({Attribute.CLASS: kind}))}
    if there:
        raise TokenError(
            f"token {token_label!r} has keys named {', '.join(sorted(there))} already: they are never overwritten; use "
            "another token, or take that signer's keys off with the vendor's tools"
        )


def _make_all(session: pkcs11.Session, wanted: Mapping[Purpose, KeyKind], profile: Profile) -> dict[str, bytes]:
    eddsa = bool(profile.ed25519_params) and Mechanism.EC_EDWARDS_KEY_PAIR_GEN in session.token.slot.get_mechanisms()
    made: list[Any] = []
    try:
        for label, kind in wanted.items():
            made.extend(_make_key(session, label, kind, profile=profile, eddsa=eddsa))
        return {label: look_up(session, profile).public[label] for label in wanted}
    except (TokenError, pkcs11.PKCS11Error):
        for key in made:
            with suppress(pkcs11.PKCS11Error):  # what cannot be taken back makes the next init refuse this token
                key.destroy()
        raise


def _make_key(
    session: pkcs11.Session, label: Purpose, kind: KeyKind, *, profile: Profile, eddsa: bool
) -> tuple[Any, Any]:
    left_out: dict[Attribute, Any] = {Attribute[name]: DEFAULT for name in profile.leave_out}
    secret = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
    common: dict[str, Any] = {
        "label": label.value,
        "store": True,
        "capabilities": _SIGNING | _DECRYPTING if label in DECRYPTS else _SIGNING,
        "public_template": left_out,
        "private_template": {**secret, **left_out},
    }
    if kind is KeyKind.RSA_2048:
        return session.generate_keypair(KeyType.RSA, _RSA_BITS, mechanism=Mechanism.RSA_PKCS_KEY_PAIR_GEN, **common)
    if kind is KeyKind.LOG and eddsa:
        curve, key_type, mechanism = profile.ed25519_params, KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    else:
        curve, key_type, mechanism = encode_named_curve_parameters("secp256r1"), KeyType.EC, Mechanism.EC_KEY_PAIR_GEN
    parameters = session.create_domain_parameters(key_type, {Attribute.EC_PARAMS: curve}, local=True)
    return parameters.generate_keypair(mechanism=mechanism, **common)
