"""Statements that a signer makes of itself: reserved, signed and stored once, like those about devices.

Lease requests, returns, balances, and in the cloud role leases, rosters, revocations and re-key authorisations.
Composes the bytes itself; never decides whether one is due: that is for the module that asks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime

from hsm.counters.documents import Document
from hsm.purposes import Purpose
from hsm.resign import once_more
from hsm.signatory import Signatory
from trust.dsse import Envelope
from trust.statement import Statement, encode


def _nothing(_: str) -> None:
    """Nothing else is to be remembered."""


def sign_document(
    signatory: Signatory, purpose: Purpose, statement: Statement, also: Callable[[str], None] = _nothing
) -> Envelope:
    """The statement, signed; the same one gives the same bytes. TokenError, StoreError.

    `also` gets the payload's hash inside the transaction that reserves it, and may refuse: what it remembers is durable
    before the signature is made.
    """
    kind = str(type(statement).__struct_config__.tag)
    return sign_payload(signatory, purpose, kind, statement.PAYLOAD_TYPE, encode(statement), also=also)


def sign_payload(
    signatory: Signatory,
    purpose: Purpose,
    kind: str,
    payload_type: str,
    payload: bytes,
    *,
    also: Callable[[str], None] = _nothing,
) -> Envelope:
    """As `sign_document`, for a statement whose payload is no JSON."""
    payload_sha256 = hashlib.sha256(payload).hexdigest()
    counters = signatory.counters
    with counters.transaction():
        known = counters.documents.find(payload_sha256)
        if known is None:
            counters.documents.add(Document(kind=kind, payload_sha256=payload_sha256, payload=payload))
            counters.count_signature(purpose)
            also(payload_sha256)
    return signed_again(signatory, purpose, payload_type, payload_sha256, first=known is None)


def signed_again(
    signatory: Signatory, purpose: Purpose, payload_type: str, payload_sha256: str, *, first: bool = False
) -> Envelope:
    """A document that is reserved, signed: the envelope on disk, or a signature made now and counted as one more.

    Also when the key has been replaced since: whoever waits for the document takes the present one's signature only.
    """
    counters = signatory.counters
    with counters.transaction():
        document = counters.documents.find(payload_sha256)
        assert document is not None, "reserve comes before sign"  # noqa: S101
        if document.envelope is not None:
            kept = Envelope.from_json(document.envelope)
            if kept.signatures[0].keyid == signatory.keys.fingerprint(purpose):
                return kept
        if not first:
            counters.documents.sign_again(payload_sha256)
            counters.count_signature(purpose, again=True)
    # A crash from here on: the payload is on disk without its signature, and is signed again when it is asked for.
    payload = document.payload
    envelope = once_more(counters, purpose, lambda: signatory.keys.envelope(purpose, payload_type, payload))
    if document.envelope is None:  # the first one is for ever
        with counters.transaction():
            counters.documents.store(payload_sha256, envelope.to_json())
    return envelope


def utc(unix_s: float) -> str:
    """The time as statements write it, to the second."""
    return datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
