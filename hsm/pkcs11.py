"""The token behind PKCS#11, and the only importer of python-pkcs11: one thread owns library, session and keys.

python-pkcs11 starts the module without locking and lets go of the GIL in every call, so a second thread crashes it: all
calls go through one executor thread. Mechanisms are always named, a digest is always 32 bytes, and a user PIN that was
refused is never tried again. At most one of these a process.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NoAnswerInTime
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11.util.ec import encode_named_curve_parameters

from hsm.purposes import KeyKind, Purpose
from hsm.token import DIGEST_BYTES, TokenError, TokenPinWrongError, TokenUnavailableError
from hsm.user_pin import UserPin

T = TypeVar("T")
_CALL_TIMEOUT_S = 8.0
_SCALAR_BYTES = 32
_RSA_BITS = 2048
_ED25519_OID: Final = bytes.fromhex("06032b6570")  # RFC 8410 §3; SoftHSM refuses other spellings
_OCTET_STRING: Final = 0x04
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


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Which token: PKCS#11 module, label, and the file that processes lock while they log in to it."""

    module: Path
    label: str
    lock: Path


@dataclass(frozen=True, slots=True)
class _Open:
    session: pkcs11.Session
    model: str
    private: Mapping[str, Any]
    public: Mapping[str, bytes]


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

    def labels(self) -> frozenset[str]:
        """Labels of the private keys on the token."""
        return self._run(lambda opened: frozenset(opened.private))

    def public_key(self, label: str) -> bytes:
        """DER SubjectPublicKeyInfo of the key; TokenError if the token has no such key."""
        return self._run(lambda opened: _named(opened.public, label))

    def sign_ecdsa(self, label: str, digest: bytes) -> bytes:
        """ECDSA in DER over a digest, whose length is checked here: CKM_ECDSA takes any number of bytes in silence."""
        if len(digest) != DIGEST_BYTES:
            raise TokenError(f"a SHA-256 digest has {DIGEST_BYTES} bytes, got {len(digest)}")
        raw = self._run(lambda opened: bytes(_named(opened.private, label).sign(digest, mechanism=Mechanism.ECDSA)))
        if len(raw) != 2 * _SCALAR_BYTES:
            raise TokenError(f"key {label!r}: the token gave {len(raw)} bytes for a P-256 signature")
        # PKCS #11 v2.40 §2.3.1: r and s side by side; OpenSSL and DSSE readers want the DER SEQUENCE of RFC 3279.
        r, s = int.from_bytes(raw[:_SCALAR_BYTES]), int.from_bytes(raw[_SCALAR_BYTES:])
        return encode_dss_signature(r, s)

    def sign_ed25519(self, label: str, message: bytes) -> bytes:
        """Ed25519 over the message itself (CKM_EDDSA without parameters)."""
        return self._run(lambda opened: bytes(_named(opened.private, label).sign(message, mechanism=Mechanism.EDDSA)))

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
            raise _refusal(self.label, error) from error
        try:
            return work(self._opened())
        except _LOST as error:
            self._forget()
            text = (
                f"token {self.label!r} is away after reconnecting too ({type(error).__name__}): check it and its module"
            )
            raise TokenUnavailableError(text) from error
        except pkcs11.PKCS11Error as error:
            raise _refusal(self.label, error) from error

    def _opened(self) -> _Open:
        if self._refused is not None:
            raise TokenPinWrongError(self._refused)
        if self._open is None:
            with _locked(self._place.lock):
                session, model = self._log_in()
            try:
                self._open = _look_up(session, model)
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
        try:
            return token.open(user_pin=self._user_pin.reveal()), token.model.strip()
        except pkcs11.UserAlreadyLoggedIn:  # another session of this process is: login is per process and token
            return token.open(), token.model.strip()
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


def make_keys(
    place: TokenPlace, so_pin: UserPin, user_pin: UserPin, wanted: Mapping[Purpose, KeyKind]
) -> dict[str, bytes]:
    """Set the user PIN of a fresh token and make its keys inside it; returns public keys (SPKI DER) by label.

    For the ceremony, in a process that has no Pkcs11Token. Raises TokenError.
    """
    with _locked(place.lock):
        try:
            token = pkcs11.lib(str(place.module)).get_token(token_label=place.label)
            with token.open(rw=True, so_pin=so_pin.reveal()) as session:
                session.init_pin(user_pin.reveal())
            with token.open(rw=True, user_pin=user_pin.reveal()) as session:
                eddsa = Mechanism.EDDSA in token.slot.get_mechanisms()
                return {label: _make_key(session, label, kind, eddsa=eddsa) for label, kind in wanted.items()}
        except pkcs11.PKCS11Error as error:
            raise _refusal(place.label, error) from error


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
        return _spki(public)
    if kind is KeyKind.LOG and eddsa:
        curve, key_type, mechanism = _ED25519_OID, KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN
    else:
        curve, key_type, mechanism = encode_named_curve_parameters("secp256r1"), KeyType.EC, Mechanism.EC_KEY_PAIR_GEN
    parameters = session.create_domain_parameters(key_type, {Attribute.EC_PARAMS: curve}, local=True)
    public, _ = parameters.generate_keypair(label=label, store=True, mechanism=mechanism, private_template=private)
    return _spki(public)


def _look_up(session: pkcs11.Session, model: str) -> _Open:
    """All keys by label, once. Each label has exactly one key pair, and no private key may leave the token."""
    private = _by_label(session, ObjectClass.PRIVATE_KEY)
    for label, key in private.items():
        if not key[Attribute.SENSITIVE] or key[Attribute.EXTRACTABLE]:
            raise TokenError(
                f"key {label!r} can be read out of the token: make a token whose keys are sensitive, not extractable"
            )
    public = _by_label(session, ObjectClass.PUBLIC_KEY)
    missing = private.keys() - public.keys()
    if missing:
        raise TokenError(f"the token has no public key for {', '.join(sorted(missing))}")
    return _Open(session, model, private, {label: _spki(public[label]) for label in private})


def _by_label(session: pkcs11.Session, kind: ObjectClass) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in list(session.get_objects({Attribute.CLASS: kind})):
        label = str(key[Attribute.LABEL])
        if label in found:
            raise TokenError(f"the token has two keys labelled {label!r}: remove one")
        found[label] = key
    return found


def _spki(key: Any) -> bytes:
    match key.key_type:
        case KeyType.RSA:
            modulus, exponent = (int.from_bytes(key[each]) for each in (Attribute.MODULUS, Attribute.PUBLIC_EXPONENT))
            return _der(rsa.RSAPublicNumbers(exponent, modulus).public_key())
        case KeyType.EC:
            return _der(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _point(key, 65)))
        case KeyType.EC_EDWARDS:
            return _der(ed25519.Ed25519PublicKey.from_public_bytes(_point(key, 32)))
        case other:
            raise TokenError(f"key {key.label!r} is of type {other!r}: only EC P-256, Ed25519 and RSA are used")


def _point(key: Any, size: int) -> bytes:
    """CKA_EC_POINT without its OCTET STRING wrapper, which some tokens leave out."""
    value = bytes(key[Attribute.EC_POINT])
    point = value[2:] if len(value) == size + 2 and value[0] == _OCTET_STRING else value
    if len(point) != size:
        raise TokenError(f"key {key.label!r}: a curve point of {len(value)} bytes; only P-256 and Ed25519 are used")
    return point


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _named(keys: Mapping[str, T], label: str) -> T:
    if label not in keys:
        raise TokenError(f"the token has no key labelled {label!r} (it has: {', '.join(sorted(keys)) or 'none'})")
    return keys[label]


def _refusal(label: str, error: pkcs11.PKCS11Error) -> TokenError:
    return TokenError(f"token {label!r} refused: {type(error).__name__} {error}".rstrip())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time: SoftHSM rewrites token.object at each login; a reader in between sees a broken token."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
