"""A statement that somebody wants signed, from arrival to envelope: one `hsm.group_commit.Errand` for each purpose.

Composes the bytes itself, from a typed statement; there is no way in for bytes to sign. The rules are a purpose's own
(the modules beside this one); here is only when each of them is asked.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from hsm.orders import KnownOrder
from hsm.purposes import Purpose
from hsm.records import Kind, Reserved
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Receipt, encode

_MAX_PAYLOAD_BYTES = 48_000  # in base64, with type and signature, below the envelope's 65,535

S = TypeVar("S", PinStatement, Completion, Receipt)


class Case(ABC, Generic[S]):
    """What is wanted, what was found about it, and what has come of it. TOO_LARGE when no envelope could hold it."""

    PURPOSE: ClassVar[Purpose]
    KIND: ClassVar[Kind]

    def __init__(self, signatory: Signatory, statement: S) -> None:
        self.signatory = signatory
        self.statement: S = statement
        self._payload = encode(statement)
        if len(self._payload) > _MAX_PAYLOAD_BYTES:
            text = f"statement of {len(self._payload)} bytes: at most {_MAX_PAYLOAD_BYTES} fit into an envelope"
            raise SignerError(Code.TOO_LARGE, text)
        self._payload_sha256 = hashlib.sha256(self._payload).hexdigest()
        self._order: KnownOrder | None = None
        self._judged = False
        self._misplaced: SignerError | None = None
        self._wrong: SignerError | None = None
        self._made: Envelope | None = None

    @abstractmethod
    def admit(self) -> None:
        """Is it for this signer, station, root and order? Asked until there is an envelope. SignerError."""

    @abstractmethod
    def judge(self) -> None:
        """Every other rule that needs no memory; asked until the payload is reserved. SignerError."""

    @abstractmethod
    def claim(self) -> None:
        """Every rule that needs memory; asked once, in the transaction that reserves. SignerError."""

    @property
    def key(self) -> str:
        """SHA-256 of the payload: the same statement is signed once, whoever asks."""
        return self._payload_sha256

    @property
    def order(self) -> KnownOrder:
        """The statement's order; ORDER_UNKNOWN."""
        if self._order is None:
            self._order = self.signatory.orders.find(self.statement.order_id)
        return self._order

    def judge_early(self) -> None:
        """Judge now, beside the memory's thread, if nothing must be read from disk for that."""
        self._order = self.signatory.orders.at_hand(self.statement.order_id)
        if self._order is not None or isinstance(self.statement, Receipt):
            self.prepare()

    def prepare(self) -> None:
        """Judge, if that is not done; what is found is said when memory does not know the statement already."""
        if self._judged:
            return
        try:
            self.admit()
        except SignerError as error:
            self._misplaced = error
        else:
            try:
                self.judge()
            except SignerError as error:
                self._wrong = error
        self._judged = True

    def reserve(self) -> Envelope | None:
        """What was answered before; else the payload is durable and counted when the transaction ends."""
        counters = self.signatory.counters
        row = counters.reserved(self.key)
        if row is not None and row.envelope is not None:
            return Envelope.from_json(row.envelope)
        if self._misplaced is not None:
            raise self._misplaced
        if row is not None:
            counters.count_again(self.PURPOSE, self.key)
            return None
        if self._wrong is not None:
            raise self._wrong
        self.claim()
        counters.add_reserved(self._row())
        counters.count_signature(self.PURPOSE)
        return None

    def sign(self) -> None:
        """Have the token sign the payload."""
        self._made = self.signatory.keys.envelope(self.PURPOSE, self.statement.PAYLOAD_TYPE, self._payload)

    def store(self) -> Envelope:
        """Keep the envelope; the one that is kept is the first."""
        assert self._made is not None, "sign comes before store"  # noqa: S101
        made = self._made.to_json()
        kept = self.signatory.counters.store_envelope(self.key, made)
        return self._made if kept is made else Envelope.from_json(kept)

    def _row(self) -> Reserved:
        return Reserved(
            kind=self.KIND,
            order_id=self.statement.order_id,
            job=self.statement.job,
            device_id=self.statement.device_id,
            fingerprint=self.statement.fingerprint,
            payload_sha256=self._payload_sha256,
            payload=self._payload,
        )
