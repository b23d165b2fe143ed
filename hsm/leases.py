"""Leases on both sides: a factory signer asks, takes and signs within one; a cloud signer signs what is granted.

The station carries request and answer: the signer needs no network. Never says whether a request fits what the registry
has seen: that is the registry's to judge.
"""

from __future__ import annotations

import secrets

from hsm.counters.documents import KnownLease
from hsm.documents import sign_document, signed_again, utc
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import lease as leases
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import MAX_PINS, NO_PINS, Lease, LeaseRequest, chained
from trust.merkle import EMPTY_ROOT
from trust.statement import StatementError, moment

_RENEW = "next: station run renews it at the registry"


def lease_request(signatory: Signatory) -> Envelope:
    """What was signed since the last lease, signed; the same request until a lease answers it."""
    documents = signatory.counters.documents
    asked = documents.last_lease(granted=False)
    if asked is not None:
        return signed_again(signatory, Purpose.ACCOUNT, LeaseRequest.PAYLOAD_TYPE, asked.request_sha256)
    last = documents.last_lease(granted=True)
    request = _request(signatory, last)

    def remember(request_sha256: str) -> None:
        documents.ask_lease(
            KnownLease(serial=request.serial, request_sha256=request_sha256, signed=request.signed, head=request.head)
        )

    return sign_document(signatory, Purpose.ACCOUNT, request, remember)


def _request(signatory: Signatory, last: KnownLease | None) -> LeaseRequest:
    counters, root = signatory.counters, signatory.trusted.root
    before, head = (0, NO_PINS) if last is None else (last.signed, last.head)
    # Not beyond the last lease: what was made before there were leases is reported bit by bit (docs/decisions/0020).
    most = MAX_PINS if last is None or last.up_to is None else min(MAX_PINS, last.up_to - last.signed)
    pins = counters.pins_after(before, most)
    checkpoint = counters.head(root.log_origin(signatory.name))
    return LeaseRequest(
        environment=root.environment,
        root_sha256=signatory.trusted.sha256,
        station=signatory.name,
        serial=1 if last is None else last.serial + 1,
        previous_sha256="" if last is None or last.lease is None else Envelope.from_json(last.lease).payload_sha256,
        signed=before + len(pins),
        total=counters.pins_made(),
        head=chained(head, pins),
        pins=tuple(pins),
        log_size=0 if checkpoint is None else checkpoint.size,
        log_root_hash=EMPTY_ROOT if checkpoint is None else checkpoint.root_hash,
        nonce=secrets.token_hex(32),
        made_at=utc(signatory.now()),
    )


def import_lease(signatory: Signatory, envelope: Envelope) -> None:
    """Take a lease that answers this signer's own open request; the same again changes nothing."""
    counters = signatory.counters
    try:
        lease = leases.granted(signatory.trusted, envelope)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    with counters.transaction():
        last, asked = counters.documents.last_lease(granted=True), counters.documents.last_lease(granted=False)
        if last is not None and last.lease is not None and Envelope.from_json(last.lease).same_statement(envelope):
            return
        wanted = None if asked is None else (signatory.name, asked.serial, asked.request_sha256, asked.signed)
        if (lease.station, lease.serial, lease.request_sha256, lease.signed) != wanted:
            text = "the lease does not answer the request that this signer has made: it is another's, or an old one"
            raise SignerError(Code.LEASE_CONFLICT, f"{text}; {_RENEW}")
        signatory.see_time(moment(lease.granted_at), "the lease")
        counters.documents.grant_lease(
            lease.serial, envelope.to_json(), up_to=lease.up_to, expires_at=int(moment(lease.expires_at).timestamp())
        )


def require_lease(signatory: Signatory) -> None:
    """Refuse one more pin statement beyond the lease, where the root wants leases; LEASE_NEEDED."""
    if signatory.trusted.root.lease_key is None:
        return
    counters = signatory.counters
    last = counters.documents.last_lease(granted=True)
    if last is None or last.up_to is None or last.expires_at is None:
        raise SignerError(Code.LEASE_NEEDED, f"this signer has no lease yet; {_RENEW}")
    if counters.pins_made() >= last.up_to:
        text = f"lease {last.serial} is used up: {last.up_to} pin statements are made"
        raise SignerError(Code.LEASE_NEEDED, f"{text}; {_RENEW}")
    if signatory.now() > last.expires_at:
        raise SignerError(Code.LEASE_NEEDED, f"lease {last.serial} ended at {utc(last.expires_at)}; {_RENEW}")


def sign_lease(signatory: Signatory, lease: Lease) -> Envelope:
    """The lease, signed, in the cloud role: one a station and number, within its root's terms, never backwards."""
    signatory.require_here(lease, "lease")
    root = signatory.trusted.root
    if lease.registry != signatory.name:
        raise SignerError(
            Code.NOT_AUTHORISED, f"lease of registry {lease.registry!r}: this signer is {signatory.name!r}'s"
        )
    if root.lease_key is None or lease.station not in root.stations:
        raise SignerError(Code.NOT_AUTHORISED, "the trust root names no lease key, or not this station")
    try:
        leases.require_terms(lease, signatory.trusted.at(lease.root_sha256))
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    documents = signatory.counters.documents

    def remember(payload_sha256: str) -> None:
        last = documents.last_grant(lease.station)
        if last and lease.serial != last + 1:  # a cloud signer that is new knows no number: the registry's rows decide
            text = f"station {lease.station} was granted lease {last} before"
            raise SignerError(Code.LEASE_CONFLICT, f"{text}: number {lease.serial} does not follow it")
        if not signatory.trusted.is_recent(lease.root_sha256):
            text = f"lease under trust root {lease.root_sha256[:16]}…, this signer has {signatory.trusted.sha256[:16]}…"
            raise SignerError(Code.WRONG_ROOT, f"{text}: a new lease is under its terms, or those of the one before")
        documents.grant(lease.station, lease.serial, payload_sha256)

    return sign_document(signatory, Purpose.LEASE, lease, remember)
