"""A device's pin and completion verified from their own signatures: order, approvals, proofs, receipts, columns.

Judged by the version of the trust root that each names, as everything on record is. The row is not believed: each
column is compared with what is signed. Pure; gives findings instead of raising, as an audit wants all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

from registry.pins.finding import Finding, differing
from registry.pins.late import completion_problem, pin_problem
from registry.pins.rows import DeviceRows, Row
from trust import closing, receipt
from trust import order as orders
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId, IdentityError
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.order_approval import OrderRefusedError, admitted
from trust.root import RootError, TrustedRoot
from trust.signed import SignedError, device_key, nonce_problem, nonces, possession_problem, proof_signed, signed_in
from trust.statement import Completion, PinStatement, Receipt, StatementError, read, verify

_KNOWN_ORDERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Papers:
    """What holds of a device's first pin, and of its completion if it has one; `nonces` of both."""

    statement: Envelope
    pin: PinStatement
    order: WorkOrder
    key: PublicKey
    completion: Completion | None
    nonces: frozenset[bytes]


def papers(rows: DeviceRows, trusted: TrustedRoot, now: datetime) -> tuple[Papers | None, list[Finding]]:
    """The papers, as far as they can be read, and everything that is wrong with them and their rows."""
    device, row = rows.device_id, rows.pin
    try:
        envelope = Envelope.from_json(row["statement"])
        pin = read(envelope, PinStatement)
        key = device_key(pin)
        order, found = _order(rows, pin, trusted)
    except (EnvelopeError, StatementError, PublicKeyError) as error:
        return None, [Finding("pins", device, f"statement: {error}")]
    found += differing("pins", device, _pin_columns(row, envelope, pin, key))
    if order is None:
        return None, found
    wrong = _pin_problems(envelope, pin, order, key, trusted)
    found += [Finding("pins", device, f"statement: {each}") for each in wrong]
    late = partial(pin_problem, rows, envelope, trusted, now)
    found += _receipt_findings("pins", rows, row, envelope, trusted, late=late)
    done, used = None, _nonces(pin)
    if rows.completion is not None:
        done, more = _completion(rows, rows.completion, envelope, order, trusted, now=now)
        found += more
        used |= frozenset() if done is None else _nonces(done)
    return Papers(statement=envelope, pin=pin, order=order, key=key, completion=done, nonces=used), found


def _pin_columns(row: Row, envelope: Envelope, pin: PinStatement, key: PublicKey) -> list[tuple[str, object, object]]:
    named = ("device_id", "station", "job", "fingerprint", "order_id", "order_sha256")
    return [
        *((name, row[name], getattr(pin, name)) for name in named),
        ("modulus", row["modulus"], key.modulus),
        ("statement_sha256", row["statement_sha256"], envelope.payload_sha256),
    ]


def _pin_problems(
    envelope: Envelope, pin: PinStatement, order: WorkOrder, key: PublicKey, trusted: TrustedRoot
) -> Iterator[str]:
    try:
        signer = trusted.at(pin.root_sha256).pin_key(pin.station)
        device = DeviceId.parse(pin.device_id)
        unproven = possession_problem(key, device, "pin", pin.possession) or nonce_problem(
            proof_signed(device, pin.possession)
        )
    except (RootError, IdentityError, SignedError) as error:
        yield str(error)
        return
    if not envelope.signed_by(signer):
        yield f"not signed by the key that the trust root gives station {pin.station} for it, and by it alone"
    if unproven is not None:
        yield unproven
    if pin.environment != trusted.root.environment:
        yield f"of environment {pin.environment!r}"
    if pin.vetting.verdict != "ok":
        yield f"vetting says {pin.vetting.verdict!r}"
    refused = orders.permits(order, pin.order_sha256, pin)
    if refused is not None:
        yield f"the order does not permit it: {refused}"


def _completion(
    rows: DeviceRows, row: Row, pin: Envelope, order: WorkOrder, trusted: TrustedRoot, *, now: datetime
) -> tuple[Completion | None, list[Finding]]:
    device = rows.device_id
    try:
        envelope = Envelope.from_json(row["statement"])
        done = read(envelope, Completion)
    except (EnvelopeError, StatementError) as error:
        return None, [Finding("completions", device, f"statement: {error}")]
    columns = [
        ("device_id", row["device_id"], done.device_id),
        ("pin_sha256", row["pin_sha256"], done.pin_sha256),
        ("statement_sha256", row["statement_sha256"], envelope.payload_sha256),
    ]
    found = differing("completions", device, columns)
    try:
        signer = trusted.at(done.root_sha256).completion_key(done.station)
    except RootError as error:
        return done, [*found, Finding("completions", device, f"statement: {error}")]
    if not envelope.signed_by(signer):
        text = f"not signed by the key that the trust root gives station {done.station} for it, and by it alone"
        found.append(Finding("completions", device, f"statement: {text}"))
    wrong = _completion_problems(rows, done, pin, order, trusted)
    found += [Finding("completions", device, f"statement: {each}") for each in wrong]
    late = partial(completion_problem, row, envelope, trusted, now)
    found += _receipt_findings("completions", rows, row, envelope, trusted, late=late)
    return done, found


def _completion_problems(
    rows: DeviceRows, done: Completion, pin: Envelope, order: WorkOrder, trusted: TrustedRoot
) -> Iterator[str]:
    told = rows.receipts.get(pin.payload_sha256)
    if told is not None:  # a receipt that is missing is a finding of its own
        try:
            wrong = closing.problem(trusted, done, pin, Envelope.from_json(told), order)
        except EnvelopeError as error:
            yield f"receipt of its pin: {error}"
            return
        if wrong is not None:
            yield wrong.text
    refused = orders.permits(order, done.order_sha256, done)
    if refused is not None:
        yield f"the order does not permit it: {refused}"


def _receipt_findings(
    table: str, rows: DeviceRows, row: Row, statement: Envelope, trusted: TrustedRoot, *, late: Callable[[], str | None]
) -> list[Finding]:
    data = rows.receipts.get(statement.payload_sha256)
    if data is None:
        return [missing_receipt(table, rows.device_id, statement.payload_sha256, late())]
    try:
        told = Envelope.from_json(data)
        wrong = receipt.problem(trusted, statement, told)
        at = read(told, Receipt).registered_at
    except (EnvelopeError, StatementError) as error:
        return [Finding("receipts", statement.payload_sha256, f"envelope: {error}")]
    if wrong is not None:
        return [Finding("receipts", statement.payload_sha256, f"envelope: {wrong}")]
    return differing(table, rows.device_id, [("registered_at", row["registered_at"], at)])


def missing_receipt(table: str, device: str, statement_sha256: str, late: str | None) -> Finding:
    """A row without its receipt: due after a crash; not when nothing like it would be taken in now, which `late` says.

    Then somebody took the receipt away, or has put the row there, or nobody has asked for it since a crash long ago.
    """
    text = f"missing, for the row of device {device} in {table}"
    if late is None:
        return Finding("receipts", statement_sha256, text, due=True)
    return Finding("receipts", statement_sha256, f"{text}, and none is signed any more: {late}")


def signed_receipt(data: bytes, trusted: TrustedRoot) -> Receipt:
    """A stored receipt, by the key of the root's version that it names; StatementError."""
    try:
        envelope = Envelope.from_json(data)
        return verify(envelope, Receipt, trusted.at(read(envelope, Receipt).root_sha256).receipt_key)
    except (EnvelopeError, RootError) as error:
        raise StatementError(str(error)) from error


def _order(rows: DeviceRows, pin: PinStatement, trusted: TrustedRoot) -> tuple[WorkOrder | None, list[Finding]]:
    """The order that the pin names; each of its envelopes was approved under some version since it was made."""
    order: WorkOrder | None = None
    found: list[Finding] = []
    if not any("order_id" in row for row in rows.orders):
        found.append(Finding("orders", pin.order_sha256, f"missing, for device {rows.device_id}"))
    for row in rows.orders:
        table = "orders" if "order_id" in row else "order_approvals"
        held, problem = _approved(bytes(row["envelope"]), pin.order_sha256, trusted)
        if held is None:
            found.append(Finding(table, str(row["order_sha256"]), problem))
            continue
        order = held
        found += differing(table, pin.order_sha256, [("order_id", row.get("order_id", held.order_id), held.order_id)])
    return order, found


@lru_cache(maxsize=_KNOWN_ORDERS)
def _approved(data: bytes, order_sha256: str, trusted: TrustedRoot) -> tuple[WorkOrder | None, str]:
    try:
        envelope = Envelope.from_json(data)
        order = read(envelope, WorkOrder)
        since = trusted.since(order.root_sha256)
    except (EnvelopeError, StatementError, RootError) as error:
        return None, f"envelope: {error}"
    if envelope.payload_sha256 != order_sha256:
        return None, "envelope: it is another order's"
    versions = [*(sha256 for sha256, _ in trusted.earlier), trusted.sha256][-len(since) :]
    problem = ""
    for sha256 in versions:
        try:
            return admitted(envelope, trusted.as_of(sha256)), ""
        except OrderRefusedError as error:
            problem = str(error)
    return None, f"envelope: {problem}"


def _nonces(statement: PinStatement | Completion) -> frozenset[bytes]:
    try:
        return frozenset(nonces(signed_in(statement)))
    except SignedError:
        return frozenset()  # found by the proofs already
