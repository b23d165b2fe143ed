"""The token behind PKCS#11: one thread owns library, session and keys.

python-pkcs11 starts the module without locking and lets go of the GIL in every call, so a second thread crashes it: all
calls go through one executor thread. Mechanisms are always named, a digest is always 32 bytes, and a user PIN that was
refused is never tried again. What may pass is tried again, a bounded number of times, as long as no signature may have
been made; from there on only the caller asks again, who counts it. At most one of these a process.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerInTime
from dataclasses import dataclass
from typing import Final, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Mechanism

from hsm.token import (
    DIGEST_BYTES,
    MOST_RAW_BYTES,
    RSA_BYTES,
    SignatureUnknownError,
    TokenError,
    TokenPinWrongError,
    TokenUnavailableError,
)
from hsm.token.pin_tries import PinTries
from hsm.token.pkcs11.keys import TokenKeys, look_up, named, told
from hsm.token.pkcs11.login import LoggedIn, log_in
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.pkcs11.raw import SignatureDoubtError
from hsm.token.pkcs11.refusal import Kind, kind_of, refusal, said
from hsm.token.user_pin import UserPin

T = TypeVar("T")
_CALL_TIMEOUT_S = 8.0
_PAUSES_S: Final = (0.02, 0.1, 0.3, 0.6, 1.0)  # between attempts of one call
_INSIST_S = 3.0  # no attempt begins later: the caller's own time limit is 8 s, and an attempt may take some
_SILENT_S = 1.0  # an answer that is owed for longer is told
_SCALAR_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    at: LoggedIn
    keys: TokenKeys

    def sign(self, label: str, mechanism: Mechanism, data: bytes) -> bytes:
        """The key's signature as the token gives it."""
        key = named(self.keys.private, label)
        return self.at.module.sign(self.at.session, key, mechanism, data)

    def decrypt(self, label: str, data: bytes) -> bytes | None:
        """What the key opens; None if it does not."""
        return self.at.module.decrypt(self.at.session, named(self.keys.private, label), Mechanism.RSA_PKCS, data)


@dataclass(frozen=True, slots=True)
class _Since:
    """What is the matter, and since when."""

    what: str
    at: dt.datetime

    def __str__(self) -> str:
        return f"{self.what} since {self.at.strftime('%Y-%m-%dT%H:%M:%SZ')}"


class Pkcs11Token:
    """A `hsm.token.Token`. Logs in at the first call; what it is and its public keys are asked of it once a session."""

    def __init__(self, place: TokenPlace, user_pin: UserPin) -> None:
        self._place = place
        self._user_pin = user_pin
        self._tries = PinTries(place.tries, user_pin)
        self._refused: str | None = None
        self._open: _Open | None = None
        self._known: _Open | None = None
        self._owed: float | None = None
        self._away: _Since | None = None
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
        return self._of_token(lambda opened: opened.at.model)

    @property
    def profile(self) -> str:
        """By which profile its module is used, and whether that was tried, for people."""
        return self._of_token(lambda opened: str(opened.at.chosen))

    @property
    def trouble(self) -> str:
        """Why no answer is to be expected now; empty if nothing is known against it."""
        if self._refused is not None:
            return self._refused
        owed = self._owed
        for_s = 0.0 if owed is None else time.monotonic() - owed
        if for_s > _SILENT_S:
            since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=for_s)
            return str(_Since(f"token {self.label!r} has not answered", since))
        return "" if self._away is None else str(self._away)

    def signatures_made(self) -> int | None:
        """None: the modules whose counter or command log could tell are not read yet (docs/modules.md)."""
        return None

    def labels(self) -> frozenset[str]:
        """Labels of the private keys on the token."""
        return self._of_token(lambda opened: frozenset(opened.keys.private))

    def public_key(self, label: str) -> bytes:
        """DER SubjectPublicKeyInfo of the key; TokenError if the token has no such key."""
        return self._of_token(lambda opened: named(opened.keys.public, label))

    def attributes(self, label: str) -> tuple[str, ...]:
        """What the token says now of a private key's attributes, as the profile asserts them, for minutes."""
        return self._run(lambda opened: told(named(opened.keys.private, label), opened.at.chosen.profile))

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        """ECDSA in DER over a digest, whose length is checked here: CKM_ECDSA takes any number of bytes in silence."""
        if len(digest) != DIGEST_BYTES:
            raise TokenError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, got {len(digest)}")
        raw = self._run(lambda opened: opened.sign(label, Mechanism.ECDSA, digest))
        if len(raw) != 2 * _SCALAR_BYTES:
            raise TokenError(f"key {label!r}: the token gave {len(raw)} bytes for a P-256 signature")
        # PKCS #11 v2.40 §2.3.1: r and s side by side; OpenSSL and DSSE readers want the DER SEQUENCE of RFC 3279.
        r, s = int.from_bytes(raw[:_SCALAR_BYTES]), int.from_bytes(raw[_SCALAR_BYTES:])
        return encode_dss_signature(r, s)

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        """Ed25519 over the message itself (CKM_EDDSA without parameters)."""
        return self._run(lambda opened: opened.sign(label, Mechanism.EDDSA, message))

    def sign_rsa(self, label: str, data: bytes) -> bytes:
        """CKM_RSA_PKCS over the bytes themselves: block type 1 around them, and no DigestInfo."""
        if not 0 < len(data) <= MOST_RAW_BYTES:
            raise TokenError(f"1 to {MOST_RAW_BYTES} bytes are signed as they are, got {len(data)}")
        made = self._run(lambda opened: opened.sign(label, Mechanism.RSA_PKCS, data))
        if len(made) != RSA_BYTES:
            raise TokenError(f"key {label!r}: the token gave {len(made)} bytes for an RSA-2048 signature")
        return made

    def open_rsa(self, label: str, ciphertext: bytes) -> bytes | None:
        """CKM_RSA_PKCS, C_Decrypt. What a module says of a wrong padding is never told, and never tried again."""
        return self._run(lambda opened: opened.decrypt(label, ciphertext))

    def close(self) -> None:
        """Log out and end the thread."""
        self._thread.submit(self._forget).result()
        self._thread.shutdown()

    def let_go(self, within_s: float) -> bool:
        """As `close`; False when the thread is inside the module for longer: only the end of its process ends it."""
        try:
            self._thread.submit(self._forget).result(within_s)
        except NoAnswerInTime:
            return False
        self._thread.shutdown()
        return True

    def _begin(self) -> None:
        self._own = threading.get_ident()

    def _of_token(self, ask: Callable[[_Open], T]) -> T:
        """What a session has found once needs no token any more: a reconnected one is checked to be the same."""
        return self._run(ask) if self._known is None else ask(self._known)

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
        self._owed = time.monotonic()
        try:
            return self._insist(work)
        except SignatureDoubtError as doubt:
            self._forget()
            raise SignatureUnknownError(
                f"token {self.label!r} gave no signature ({said(doubt.error)}) and may have made it: ask again"
            ) from doubt
        except TokenPinWrongError as error:
            self._refused = str(error)
            raise
        finally:
            self._owed = None

    def _insist(self, work: Callable[[_Open], T]) -> T:
        """The work's result, after as many attempts as are due: one for a token that is known to be away."""
        pauses = iter(() if self._away else _PAUSES_S)
        until = time.monotonic() + _INSIST_S
        while True:
            try:
                done = work(self._opened())
            except pkcs11.PKCS11Error as error:
                if (kind := kind_of(error)) is Kind.REFUSED:
                    raise refusal(self.label, error) from error
                if kind is Kind.LOST:
                    self._forget()
                pause = next(pauses, None)
                if pause is None or time.monotonic() + pause > until:
                    raise self._is_away(error) from error
                time.sleep(pause)
            else:
                self._away = None
                return done

    def _opened(self) -> _Open:
        if self._refused is not None:
            raise TokenPinWrongError(self._refused)
        if self._open is None:
            at = self._log_in()
            try:
                opened = _Open(at=at, keys=look_up(at.session, at.chosen.profile))
                self._require_same(opened)
            except (TokenError, pkcs11.PKCS11Error):
                at.close()
                raise
            self._open = self._known = opened
        return self._open

    def _log_in(self) -> LoggedIn:
        serial = None if self._known is None else self._known.at.serial
        return log_in(self._place, self._user_pin, self._tries, serial=serial)

    def _require_same(self, opened: _Open) -> None:
        if self._known is not None and self._known.keys.public != opened.keys.public:
            raise TokenError(
                f"token {self.label!r} has other keys than before: put those back, or start with a root that names them"
            )

    def _is_away(self, error: pkcs11.PKCS11Error) -> TokenUnavailableError:
        if self._away is None:
            self._away = _Since(f"token {self.label!r} is away ({said(error)})", dt.datetime.now(dt.UTC))
        return TokenUnavailableError(f"{self._away}, after reconnecting too: check the token, its cable and its module")

    def _forget(self) -> None:
        opened, self._open = self._open, None
        if opened is not None:
            opened.at.close()
