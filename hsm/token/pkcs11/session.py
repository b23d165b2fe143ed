"""The token behind PKCS#11: one thread owns library, session and keys.

python-pkcs11 starts the module without locking and lets go of the GIL in every call, so a second thread crashes it: all
calls go through one executor thread. Mechanisms are always named, a digest is always 32 bytes, and a user PIN that was
refused is never tried again. At most one of these a process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerInTime
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Mechanism, TokenFlag

from hsm.token import DIGEST_BYTES, TokenError, TokenPinWrongError, TokenUnavailableError
from hsm.token.pkcs11.keys import TokenKeys, look_up, named
from hsm.token.pkcs11.module import chosen_for, fitting
from hsm.token.pkcs11.place import TokenPlace, locked
from hsm.token.pkcs11.refusal import refusal
from hsm.token.user_pin import UserPin

T = TypeVar("T")
_CALL_TIMEOUT_S = 8.0
_SCALAR_BYTES = 32
_LOST: Final = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.DeviceRemoved,
    pkcs11.DeviceError,
    pkcs11.ObjectHandleInvalid,
    pkcs11.KeyHandleInvalid,
    pkcs11.UserNotLoggedIn,
    pkcs11.TokenNotPresent,
    pkcs11.TokenNotRecognised,
    pkcs11.NoSuchToken,
    pkcs11.GeneralError,
)
_PIN_REFUSED: Final = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    session: pkcs11.Session
    model: str
    profile: str
    keys: TokenKeys


class Pkcs11Token:
    """A `hsm.token.Token`. Logs in at the first call; after a lost session it opens, and looks keys up, once more."""

    def __init__(self, place: TokenPlace, user_pin: UserPin) -> None:
        self._place = place
        self._user_pin = user_pin
        self._refused: str | None = None
        self._open: _Open | None = None
        self._thread = ThreadPoolExecutor(1, "token", initializer=self._begin)
        self._own: int | None = None

    @property
    def thread(self) -> ThreadPoolExecutor:
        """The one thread of PKCS#11. Who signs much works there, saves two switches a call, and times itself out."""
        return self._thread

    @property
    def label(self) -> str:
        """The token's label."""
        return self._place.label

    @property
    def model(self) -> str:
        """The token's model, as it says itself."""
        return self._run(lambda opened: opened.model)

    @property
    def profile(self) -> str:
        """By which profile its module is used, and whether that was tried, for people."""
        return self._run(lambda opened: opened.profile)

    def labels(self) -> frozenset[str]:
        """Labels of the private keys on the token."""
        return self._run(lambda opened: frozenset(opened.keys.private))

    def public_key(self, label: str) -> bytes:
        """DER SubjectPublicKeyInfo of the key; TokenError if the token has no such key."""
        return self._run(lambda opened: named(opened.keys.public, label))

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        """ECDSA in DER over a digest, whose length is checked here: CKM_ECDSA takes any number of bytes in silence."""
        if len(digest) != DIGEST_BYTES:
            raise TokenError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, got {len(digest)}")
        raw = self._run(lambda opened: bytes(named(opened.keys.private, label).sign(digest, mechanism=Mechanism.ECDSA)))
        if len(raw) != 2 * _SCALAR_BYTES:
            raise TokenError(f"key {label!r}: the token gave {len(raw)} bytes for a P-256 signature")
        # PKCS #11 v2.40 §2.3.1: r and s side by side; OpenSSL and DSSE readers want the DER SEQUENCE of RFC 3279.
        r, s = int.from_bytes(raw[:_SCALAR_BYTES]), int.from_bytes(raw[_SCALAR_BYTES:])
        return encode_dss_signature(r, s)

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        """Ed25519 over the message itself (CKM_EDDSA without parameters)."""
        return self._run(
            lambda opened: bytes(named(opened.keys.private, label).sign(message, mechanism=Mechanism.EDDSA))
        )

    def close(self) -> None:
        """Log out and end the thread."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def _begin(self) -> None:
        self._own = threading.get_ident()

    def _run(self, work: Callable[[_Open], T]) -> T:
        if threading.get_ident() == self._own:
            return self._attempt(work)
        waiting = self._thread.submit(self._attempt, work)
        try:
            return waiting.result(_CALL_TIMEOUT_S)
        except NoAnswerInTime as error:
            waiting.cancel()
            raise TokenUnavailableError(f"token {self.label!r} has not answered for {_CALL_TIMEOUT_S:.0f} s") from error

    def _attempt(self, work: Callable[[_Open], T]) -> T:
        try:
            return work(self._opened())
        except _LOST:
            self._forget()
        except pkcs11.PKCS11Error as error:
            raise refusal(self.label, error) from error
        try:
            return work(self._opened())
        except _LOST as error:
            self._forget()
            text = (
                f"token {self.label!r} is away after reconnecting too ({type(error).__name__}): check it and its module"
            )
            raise TokenUnavailableError(text) from error
        except pkcs11.PKCS11Error as error:
            raise refusal(self.label, error) from error

    def _opened(self) -> _Open:
        if self._refused is not None:
            raise TokenPinWrongError(self._refused)
        if self._open is None:
            with locked(self._place.lock):
                session, model = self._log_in()
            try:
                chosen = chosen_for(self._place, session.token)
                keys = look_up(session, chosen.profile)
                self._open = _Open(session=session, model=model, profile=str(chosen), keys=keys)
            except (TokenError, pkcs11.PKCS11Error):
                with suppress(pkcs11.PKCS11Error):
                    session.close()
                raise
        return self._open

    def _log_in(self) -> tuple[pkcs11.Session, str]:
        token = pkcs11.lib(str(self._place.module)).get_token(token_label=self.label)
        if token.flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED):
            raise self._never_again(
                "one try is left, or none: reset the user PIN as security officer, then start again"
            )
        profile = chosen_for(self._place, token).profile
        pin = fitting(profile, self._user_pin)
        try:
            return token.open(rw=profile.read_write, user_pin=pin), token.model.strip()
        except pkcs11.UserAlreadyLoggedIn:  # another session of this process is: login is per process and token
            return token.open(rw=profile.read_write), token.model.strip()
        except _PIN_REFUSED as error:
            raise self._never_again(f"refused ({type(error).__name__}): correct user_pin, then start again") from error

    def _never_again(self, why: str) -> TokenPinWrongError:
        self._refused = f"user PIN of token {self.label!r}: {why}. It is not tried again by this process"
        return TokenPinWrongError(self._refused)

    def _forget(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            with suppress(pkcs11.PKCS11Error):  # closing a lost session fails too
                opened.session.close()
