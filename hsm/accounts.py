"""What a factory signer says of its own counting: its balance, and what it gives back of an order. Signed as *account*.

Takes every number from its memory. Never judges one.
"""

from __future__ import annotations

from hsm.counters.documents import KnownLease
from hsm.documents import sign_document, signed_again, utc
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import LeaseState, LogHead, SignerError, SignerStatus
from trust.account import AllotmentReturn, Balance, Signatures, Tier
from trust.codes import Code
from trust.dsse import Envelope

_SURPLUS = "signatures that the token has made and this signer has not counted"


def tier(signatory: Signatory) -> Tier:
    """Where this signer's count is kept so that it cannot be taken back."""
    return "lease" if signatory.role == "factory" and signatory.trusted.root.lease_key is not None else "none"


def status(signatory: Signatory) -> SignerStatus:
    """Role, keys and counts."""
    counters, token = signatory.counters, signatory.token
    counts, stop = counters.signatures(), counters.documents.stop()
    return SignerStatus(
        role=signatory.role,
        name=signatory.name,
        environment=signatory.trusted.root.environment,
        root_sha256=signatory.trusted.sha256,
        root_version=signatory.trusted.root.version,
        token_label=token.label,
        token_model=token.model,
        token_profile=token.profile,
        keys={label: token.public_key(label) for label in sorted(token.labels())},
        signatures={purpose: payloads for purpose, (payloads, _) in counts.items()},
        resigned=sum(again for _, again in counts.values()),
        checkpoints={
            origin: LogHead(size=head.size, root_hash=head.root_hash) for origin, head in counters.heads().items()
        },
        tier=tier(signatory),
        pins=counters.pins_made(),
        lease=_lease_state(counters.documents.last_lease(granted=True)),
        orders=tuple(counters.order_counts()),
        stopped="" if stop is None else f"{stop.number}: {stop.reason}",
        protections=dict(signatory.protections),
        trouble=token.trouble,
    )


def _lease_state(lease: KnownLease | None) -> LeaseState | None:
    if lease is None or lease.up_to is None or lease.expires_at is None:
        return None
    return LeaseState(serial=lease.serial, up_to=lease.up_to, expires_at=utc(lease.expires_at))


def balance(signatory: Signatory) -> Envelope:
    """The signer's books as they are now, signed. One that stays unsigned is never given later: it would be old."""
    by_token = reconcile(signatory)
    counters, root = signatory.counters, signatory.trusted.root
    lease, stop = counters.documents.last_lease(granted=True), counters.documents.stop()
    return sign_document(
        signatory,
        Purpose.ACCOUNT,
        Balance(
            environment=root.environment,
            root_sha256=signatory.trusted.sha256,
            station=signatory.name,
            tier=tier(signatory),
            token_model=signatory.token.model,
            lease_serial=0 if lease is None else lease.serial,
            lease_up_to=0 if lease is None or lease.up_to is None else lease.up_to,
            pins=counters.pins_made(),
            signatures={
                purpose: Signatures(payloads=payloads, resigned=again)
                for purpose, (payloads, again) in sorted(counters.signatures().items())
            },
            by_token=by_token,
            accepted=counters.documents.accepted_surplus(),
            orders=tuple(counters.order_counts()),
            stopped="" if stop is None else f"{stop.number}: {stop.reason}"[:200],
            made_at=utc(signatory.now()),
        ),
    )


def reconcile(signatory: Signatory) -> int | None:
    """The token's own number of signatures, held against the books; more than they and officers know of stop it.

    None where the module cannot say. Fewer is no alarm: some were counted and never made (docs/decisions/0021).
    """
    counters = signatory.counters
    by_token = signatory.token.signatures_made()
    known = sum(payloads + again for payloads, again in counters.signatures().values())
    surplus = 0 if by_token is None else by_token - known
    if surplus > counters.documents.accepted_surplus():
        with counters.transaction():
            counters.documents.add_stop(f"{_SURPLUS}: {surplus}", int(signatory.now()), surplus=surplus)
    return by_token


def return_allotment(signatory: Signatory, order_id: str) -> Envelope:
    """Zero what this station has not used of an order; the statement that says so, the same one ever after.

    Units that are signed for may still be completed. ORDER_UNKNOWN.
    """
    counters = signatory.counters
    count = counters.order_count(order_id)
    if count is None:
        raise SignerError(Code.ORDER_UNKNOWN, f"order {order_id!r} is not known to this signer")
    before = counters.returned(order_id)
    if before is not None:
        return signed_again(signatory, Purpose.ACCOUNT, AllotmentReturn.PAYLOAD_TYPE, before)
    live = count.pins - counters.scraps_of(order_id) + counters.finished_for_others(order_id)
    # Good units that nobody has begun: the quantity less live units, as far as pin statements are left for them.
    given = max(0, min(count.completion_limit - live, count.pin_limit - count.pins))
    statement = AllotmentReturn(
        environment=signatory.trusted.root.environment,
        root_sha256=signatory.trusted.sha256,
        station=signatory.name,
        order_id=order_id,
        order_sha256=count.order_sha256,
        pins=count.pins,
        completions=count.completions,
        quantity=given,
        allowance=count.pin_limit - count.pins - given,
        made_at=utc(signatory.now()),
    )

    def zero(payload_sha256: str) -> None:
        counters.return_rest(
            order_id, payload_sha256, pin_limit=count.pins, completion_limit=count.completion_limit - given
        )

    return sign_document(signatory, Purpose.ACCOUNT, statement, zero)
