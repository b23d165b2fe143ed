"""What a leaf says, judged by itself and by the job's earlier statements: whose it is, who signed it, does it hold.

Pure; each function yields problems as (number of the check, sentence). The rules are those of signer and registry,
written again here from the contract: an auditor who asks the audited learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from station.audit import closing, device, handshake, receipt
from station.jobs import RecordKind
from station.jobs.leaf import JobLeaf
from trust import order as orders
from trust.approval import ORDER_ROLES, ApprovalError, approvals, require_roles
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.order import OrderError, WorkOrder
from trust.order_check import check
from trust.root import Root, RootError, TrustedRoot
from trust.statement import Completion, Event, PinStatement, Receipt, StatementError, read

Problem = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the audit believes, and whose log it is."""

    trusted: TrustedRoot
    station: str


def belongs(leaf: JobLeaf, trust: Trust) -> Iterator[Problem]:
    """Check 8, and that what nobody signs is not signed (9)."""
    body, trusted = leaf.body, trust.trusted
    if body.environment != trusted.root.environment:
        yield 8, f"environment {body.environment!r}, expected {trusted.root.environment!r}"
    if not trusted.knows(body.root_sha256):
        yield 8, f"made under trust root {body.root_sha256[:16]}…, which is no version of {trusted.sha256[:16]}…"
    if isinstance(body, Event):
        if body.station != trust.station:
            yield 8, f"event of station {body.station!r}, expected {trust.station!r}"
        if leaf.envelope.signatures:
            yield 9, "an event carries a signature: nobody signs events"


def order(envelope: Envelope, trusted: TrustedRoot) -> Iterator[Problem]:
    """Check 11 of a work order's leaf: approved by people whom a root named since it was made; `demo` needs none."""
    try:
        body = read(envelope, WorkOrder)
        check(body)
        _approved(envelope, trusted.since(body.root_sha256))
    except (OrderError, StatementError, RootError, ApprovalError) as error:
        yield 11, str(error)


def _approved(envelope: Envelope, roots: Sequence[Root]) -> None:
    """By people of one version, of those in force since it was made: who approves it anew may be named later."""
    if not envelope.signatures and roots[0].environment == "demo":
        return
    wrong: ApprovalError | None = None
    for root in roots:
        try:
            require_roles(approvals(envelope, root.approvers), ORDER_ROLES, at_least=root.thresholds.order)
        except ApprovalError as error:
            wrong = wrong or error
        else:
            return
    if wrong is not None:
        raise wrong


def signatures(leaf: JobLeaf, trust: Trust, *, adopted: bool) -> Iterator[Problem]:
    """Check 9: signed by the key of the station that the statement names.

    Another station's pin statement stands only in an adopted job; its completion in any: the unit was finished there.
    """
    body = leaf.body
    if not isinstance(body, PinStatement | Completion):
        return  # a receipt's signature is part of `content`; the rest is signed by nobody
    finished_elsewhere = leaf.kind is RecordKind.COMPLETION
    if body.station != trust.station and not (adopted or finished_elsewhere):
        yield 9, f"statement of station {body.station!r} in a job that this station began"
    if not leaf.envelope.signatures:
        return  # an intent
    try:
        root = trust.trusted.at(body.root_sha256)
        key = root.pin_key(body.station) if isinstance(body, PinStatement) else root.completion_key(body.station)
    except RootError as error:
        yield 9, str(error)
        return
    if not leaf.envelope.signed_by(key):
        yield 9, f"not signed by the key that the trust root names ({key.fingerprint[:16]}…)"


def content(
    leaf: JobLeaf, trust: Trust, order_: Envelope | None, told: Mapping[RecordKind, Envelope]
) -> Iterator[Problem]:
    """Check 11: what the record says holds by itself, under its order, and beside the job's earlier statements."""
    match leaf.body:
        case PinStatement() as pin:
            yield from _ordered(pin, order_)
            yield from _pin(pin)
        case Completion() as done:
            yield from _ordered(done, order_)
            yield from _completion(done, order_, told, trust)
        case HandshakeReport() if order_ is not None:
            pinned, work = told.get(RecordKind.PIN), read(order_, WorkOrder)
            found = handshake.on_record(leaf.envelope, pinned, work, trust.trusted, trust.station)
            yield from ((11, text) for text in found)
        case Receipt() if leaf.kind is not None:
            yield from ((11, text) for text in receipt.problems(leaf.kind, leaf.envelope, told, trust.trusted))
        case _:
            return


def _ordered(statement: PinStatement | Completion, order_: Envelope | None) -> Iterator[Problem]:
    if order_ is None:
        yield 11, f"order {statement.order_id} is not in the log before it"
        return
    try:
        body = read(order_, WorkOrder)
    except StatementError as error:
        yield 11, str(error)
        return
    refused = orders.permits(body, order_.payload_sha256, statement)
    if refused is not None:
        yield 11, f"order {body.order_id} does not permit it: {refused}"
    if isinstance(statement, PinStatement) and statement.order_signed != bool(order_.signatures):
        yield 11, f"says order_signed is {statement.order_signed}, the order has {len(order_.signatures)} signatures"


def _pin(pin: PinStatement) -> Iterator[Problem]:
    if pin.vetting.verdict != "ok":
        yield 11, f"the key's vetting says {pin.vetting.verdict!r}: only 'ok' is pinned"
    try:
        key = device.key_of(pin)
    except ValueError as error:
        yield 11, str(error)
        return
    yield from ((11, text) for text in device.possession(key, pin.device_id, "pin", pin.possession))


def _completion(
    done: Completion, order_: Envelope | None, told: Mapping[RecordKind, Envelope], trust: Trust
) -> Iterator[Problem]:
    if RecordKind.PIN not in told:
        yield 11, "a completion without a pin statement on record"
        return
    pin = read(told[RecordKind.PIN], PinStatement)
    if done.fingerprint != pin.fingerprint:
        yield 11, f"fingerprint {done.fingerprint[:16]}… is not the pinned one {pin.fingerprint[:16]}…"
    try:
        key = device.key_of(pin)
    except ValueError as error:
        yield 11, str(error)
        return
    second = done.verification.possession
    yield from ((11, text) for text in device.possession(key, done.device_id, "verify", second))
    order = read(order_, WorkOrder) if order_ is not None else None
    yield from ((11, text) for text in closing.problems(done, pin, key, order))
    if order is not None:
        yield from ((11, text) for text in handshake.problems(done, pin, order, trust.trusted))
