"""Open a session and log in, once: find the token, see its flags and what is known of the PIN, only then give it.

The PIN is given in one place, here, and each time the try is on disk before. Never tries again by itself.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import pkcs11
from pkcs11 import TokenFlag

from hsm.token import TokenError, TokenPinWrongError
from hsm.token.pin_tries import PinTries
from hsm.token.pkcs11.module import chosen_for, fitting
from hsm.token.pkcs11.place import TokenPlace, locked
from hsm.token.pkcs11.raw import Module, module_of
from hsm.token.pkcs11.refusal import PIN_REFUSED, said
from hsm.token.profile import Chosen
from hsm.token.user_pin import UserPin

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """A session of a user who is logged in."""

    module: Module
    slot: int
    session: Any
    model: str
    serial: bytes
    chosen: Chosen

    def close(self) -> None:
        """Close all that this process has open at the token, also what an answer that was lost has opened."""
        self.module.close_all(self.slot)


def log_in(place: TokenPlace, user_pin: UserPin, tries: PinTries, *, serial: bytes | None) -> LoggedIn:
    """Log in; TokenError or one of its kinds, or PKCS11Error. What was opened before a failure is closed again.

    A token that has not this serial number, if one is given, is not given the PIN.
    """
    with locked(place.lock):
        token = _library(place).get_token(token_label=place.label)
        if serial not in {None, token.serial}:
            raise TokenError(f"another token {place.label!r} is in the first one's place: put that back")
        _require_tries(place.label, token.flags, tries)
        chosen = chosen_for(place, token)
        fitting(chosen.profile, user_pin)
        module, slot = module_of(place.module, token, read_write=chosen.profile.read_write), token.slot.slot_id
        try:
            session = token.open(rw=chosen.profile.read_write)
            _give_pin(place.label, module, session, user_pin, tries)
        except (pkcs11.PKCS11Error, TokenError):
            module.close_all(slot)
            raise
        return LoggedIn(
            module=module, slot=slot, session=session, model=token.model.strip(), serial=token.serial, chosen=chosen
        )


def _library(place: TokenPlace) -> Any:
    try:
        return pkcs11.lib(str(place.module))
    except pkcs11.PKCS11Error as error:
        raise TokenError(
            f"PKCS#11 module {place.module} does not load ({said(error)}): correct module in signer.toml, or the "
            "module's own settings"
        ) from error


def _require_tries(label: str, flags: TokenFlag, tries: PinTries) -> None:
    if flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
        why = "locked" if flags & TokenFlag.USER_PIN_LOCKED else "one try is left, and it is not this program's"
        raise _wrong(label, f"{why}: reset the user PIN as security officer, correct user_pin, then start again")
    objection = tries.objection(wrong_one_counted=bool(flags & TokenFlag.USER_PIN_COUNT_LOW))
    if objection is not None:
        raise _wrong(label, objection)
    if flags & TokenFlag.USER_PIN_COUNT_LOW:
        _LOG.warning("token %r has counted a wrong user PIN since the last right one", label)


def _give_pin(label: str, module: Module, session: Any, user_pin: UserPin, tries: PinTries) -> None:
    tries.begin()
    # A crash here: the next start finds a try without an answer, and asks the token's flags before it makes another.
    try:
        module.log_in(session, user_pin)
    except pkcs11.UserAlreadyLoggedIn:
        _LOG.info("token %r: this process was logged in", label)
    except PIN_REFUSED as error:
        tries.refused()
        raise _wrong(label, f"refused ({said(error)}): correct user_pin, then start again") from error
    tries.accepted()


def _wrong(label: str, why: str) -> TokenPinWrongError:
    return TokenPinWrongError(f"user PIN of token {label!r}: {why}. No program tries it again")
