"""A key taken off its token for good: destroyed, searched for, and signing with it tried. Only for officers' acts.

In a process that has no session of its own. Never destroys a key whose public half is not the one that was named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pkcs11
from pkcs11 import Attribute, Mechanism, ObjectClass

from hsm.purposes import Purpose
from hsm.token import DIGEST_BYTES, TokenError
from hsm.token.pkcs11.keys import look_up, spki_of
from hsm.token.pkcs11.module import chosen_for, fitting
from hsm.token.pkcs11.place import TokenPlace, locked
from hsm.token.pkcs11.refusal import refusal
from hsm.token.user_pin import UserPin

_KINDS = (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was found: objects before and after, and what the token said when signing was tried with the old handle."""

    before: int
    after: int
    signing: str


def remove_key(place: TokenPlace, user_pin: UserPin, purpose: Purpose, fingerprint: str) -> Removed:
    """Destroy the purpose's key pair, or the public half that a crash left; TokenError, and what it says.

    One that is gone already is only searched for.
    """
    with locked(place.lock):
        try:
            token = pkcs11.lib(str(place.module)).get_token(token_label=place.label)
            profile = chosen_for(place, token).profile
            with token.open(rw=True, user_pin=fitting(profile, user_pin)) as session:
                return _remove(session, purpose, fingerprint, lambda: look_up(session, profile).public)
        except pkcs11.PKCS11Error as error:
            raise refusal(place.label, error) from error


def _remove(session: Any, purpose: Purpose, fingerprint: str, public: Callable[[], Any]) -> Removed:
    private, beside = (_objects(session, purpose, kind) for kind in _KINDS)
    if not private and not beside:
        return Removed(before=0, after=0, signing="not tried: there is no key")
    halves = [public().get(purpose.value, b"")] if private else [spki_of(each) for each in beside]
    for spki in halves:
        _require_named(purpose, spki, fingerprint, whole=bool(private))
    for each in (*private, *beside):
        # A crash between two of them leaves a public object without its private one: the act again destroys it.
        each.destroy()
    after = sum(len(_objects(session, purpose, kind)) for kind in _KINDS)
    if after:
        raise TokenError(f"{after} objects named {purpose} are still on the token: do not use it any more")
    return Removed(
        before=len(private) + len(beside),
        after=after,
        signing=_tried(private[0]) if private else "not tried: no private key",
    )


def _require_named(purpose: Purpose, spki: bytes, fingerprint: str, *, whole: bool) -> None:
    """TokenError for another key than the one that was named."""
    there = hashlib.sha256(spki).hexdigest()
    if there != fingerprint:
        what = f"{purpose} key" if whole else f"{purpose} key, of which only the public half is there,"
        text = f"the token's {what} is {there[:16]}…, the act names {fingerprint[:16]}…: nothing was destroyed"
        raise TokenError(text if whole else f"{text}; if nobody needs that half, take it off with the vendor's tools")


def _objects(session: Any, purpose: Purpose, kind: ObjectClass) -> list[Any]:
    return list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: purpose.value}))


def _tried(private: Any) -> str:
    """What the token says to a signature with the old handle; TokenError if it makes one."""
    try:
        private.sign(bytes(DIGEST_BYTES), mechanism=Mechanism.ECDSA)
    except pkcs11.PKCS11Error as error:
        return f"refused: {type(error).__name__}"
    raise TokenError("the key that was destroyed still signs: do not use this token any more")
