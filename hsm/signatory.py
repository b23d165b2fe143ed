"""How every statement is signed: reserve, sign, store, reply. The same payload is never paid for twice.

Composes the bytes itself, from a typed statement; there is no way in for bytes to sign. Never decides what may be
signed: the `claim` that a policy hands in does, inside the transaction that reserves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hsm.counters import Counters, StoreError
from hsm.purposes import Purpose, RoleName
from hsm.records import Kind, Reserved
from hsm.signer import SignerError, SignerStatus
from hsm.token import Token, TokenError, TokenPinWrongError
from trust.codes import Code
from trust.dsse import Envelope, Signature, pae
from trust.keys import PublicKey
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement, Receipt, Statement, StatementError, encode, read

_MAX_PAYLOAD_BYTES = 48_000  # in base64, with type and signature, below the envelope's 65,535

Signable = PinStatement | Completion | Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """One signer: its role and name, the root it serves, its token and its memory. `now` gives Unix seconds."""

    role: RoleName
    name: str
    trusted: TrustedRoot
    token: Token
    counters: Counters
    now: Callable[[], float]

    def status(self) -> SignerStatus:
        """Role, keys and counts."""
        counts = self.counters.signatures()
        return SignerStatus(
            role=self.role,
            name=self.name,
            environment=self.trusted.root.environment,
            root_sha256=self.trusted.sha256,
            token_label=self.token.label,
            token_model=self.token.model,
            keys={label: self.token.public_key(label) for label in sorted(self.token.labels())},
            signatures={purpose: payloads for purpose, (payloads, _) in counts.items()},
            resigned=sum(again for _, again in counts.values()),
            checkpoints=self.counters.heads(),
        )

    def require_here(self, statement: Statement, what: str) -> None:
        """Refuse another environment's or another root's statement."""
        root = self.trusted.root
        if statement.environment != root.environment:
            text = f"{what} is of environment {statement.environment!r}, this signer of {root.environment!r}"
            raise SignerError(Code.WRONG_ENVIRONMENT, text)
        if statement.root_sha256 != self.trusted.sha256:
            text = f"{what} names trust root {statement.root_sha256[:16]}…, this signer has {self.trusted.sha256[:16]}…"
            raise SignerError(Code.WRONG_ROOT, text)

    def stored(self, statement: Signable) -> Envelope | None:
        """What was answered to this very statement before."""
        row = self.counters.reserved(_sha256(encode(statement)))
        return None if row is None or row.envelope is None else Envelope.from_json(row.envelope)

    def is_reserved(self, statement: Signable) -> bool:
        """Whether this very statement was let through before, so that its challenge and unit are spent."""
        return self.counters.reserved(_sha256(encode(statement))) is not None

    def issue(self, purpose: Purpose, statement: Signable, claim: Callable[[str], None]) -> Envelope:
        """The statement, signed. `claim(payload_sha256)` runs once, in the reserving transaction; may refuse."""
        payload = _checked(statement)
        payload_sha256 = _sha256(payload)
        with self.counters.transaction():
            row = self.counters.reserved(payload_sha256)
            if row is not None and row.envelope is not None:
                return Envelope.from_json(row.envelope)
            if row is None:
                claim(payload_sha256)
                self.counters.add_reserved(_reserved(statement, payload, payload_sha256))
                self.counters.count_signature(purpose)
            else:
                self.counters.count_again(purpose, payload_sha256)
        # A crash from here on leaves a payload without signature: the same request signs that payload again.
        made = self._signed(purpose, statement.PAYLOAD_TYPE, payload)
        with self.counters.transaction():
            return Envelope.from_json(self.counters.store_envelope(payload_sha256, made.to_json()))

    def sign_digest(self, purpose: Purpose, message: bytes) -> bytes:
        """ECDSA over SHA-256 of bytes that this package composed; checked against the public key before it leaves."""
        signature = self.token.sign_ecdsa(purpose, hashlib.sha256(message).digest())
        if not PublicKey.from_der(self.token.public_key(purpose)).verifies(signature, message):
            raise TokenError(f"the token's {purpose} signature does not verify: take the token out of use")
        return signature

    def _signed(self, purpose: Purpose, payload_type: str, payload: bytes) -> Envelope:
        signature = self.sign_digest(purpose, pae(payload_type, payload))
        return Envelope(payload, payload_type, (Signature(_sha256(self.token.public_key(purpose)), signature),))


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what token and counters raise into the one error that crosses the socket."""
    try:
        yield
    except TokenPinWrongError as error:
        raise SignerError(Code.TOKEN_PIN_WRONG, str(error)) from error
    except TokenError as error:
        raise SignerError(Code.TOKEN_UNAVAILABLE, str(error)) from error
    except StoreError as error:
        raise SignerError(Code.STORE_FAILED, str(error)) from error


def _checked(statement: Signable) -> bytes:
    """The statement's bytes, if they read back as what they say: a value made in process was never checked."""
    payload = encode(statement)
    if len(payload) > _MAX_PAYLOAD_BYTES:
        text = f"statement of {len(payload)} bytes: at most {_MAX_PAYLOAD_BYTES} fit into an envelope"
        raise SignerError(Code.TOO_LARGE, text)
    try:
        read(Envelope(payload, statement.PAYLOAD_TYPE), type(statement))
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    return payload


def _reserved(statement: Signable, payload: bytes, payload_sha256: str) -> Reserved:
    kind: Kind = "pin"
    match statement:
        case Completion():
            kind = "completion"
        case Receipt():
            kind = "receipt"
        case PinStatement():
            pass
    return Reserved(
        kind=kind,
        order_id=statement.order_id,
        job=statement.job,
        device_id=statement.device_id,
        fingerprint=statement.fingerprint,
        payload_sha256=payload_sha256,
        payload=payload,
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
