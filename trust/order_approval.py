"""May anything be made under this order? Its form, environment, root, keys and approvals, by one rule for everybody.

Signer, registry, station and audit ask here (docs/decisions/0019). Pure: the order's window is judged where something
is begun (`trust.order.window_problem`), its counts where they are kept.
"""

from __future__ import annotations

from datetime import datetime

from trust.approval import ORDER_ROLES, ApprovalError, approvals, require_roles
from trust.codes import Code
from trust.dsse import MAX_ENVELOPE_BYTES, Envelope
from trust.order import OrderError, WorkOrder, window_problem
from trust.order_check import check
from trust.root import Root, TrustedRoot
from trust.statement import StatementError, read


class OrderRefusedError(Exception):
    """Nothing may be made under this order; `code` says what kind of reason, the text which and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def admitted(envelope: Envelope, trusted: TrustedRoot) -> WorkOrder:
    """The order inside, if it may be worked under; OrderRefusedError."""
    order = body(envelope)
    what = f"order {order.order_id}"
    _require_fit(order, trusted)
    _require_approved(envelope, trusted.root, what)
    _require_keys(order, trusted)
    if trusted.signed:  # one without signatures names nobody (`demo`)
        _require_stations(order, trusted)
    if len(envelope.to_json()) > MAX_ENVELOPE_BYTES:
        raise OrderRefusedError(Code.TOO_LARGE, f"{what}: more than {MAX_ENVELOPE_BYTES} bytes with its approvals")
    return order


def worth_approving(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> WorkOrder:
    """The order inside, if something could be made under it once it is approved; OrderRefusedError."""
    order = body(envelope)
    _require_fit(order, trusted)
    _require_stations(order, trusted)
    if now > datetime.fromisoformat(order.not_after):
        text = f"order {order.order_id}: {window_problem(order, now)}"
        raise OrderRefusedError(Code.ORDER_REFUSES, text)
    return order


def _require_fit(order: WorkOrder, trusted: TrustedRoot) -> None:
    """Of this environment and root, and in itself sound."""
    what = f"order {order.order_id}"
    if order.environment != trusted.root.environment:
        text = f"{what} is of environment {order.environment!r}, expected {trusted.root.environment!r}"
        raise OrderRefusedError(Code.WRONG_ENVIRONMENT, text)
    if not trusted.knows(order.root_sha256):
        text = f"{what} names trust root {order.root_sha256[:16]}…, which is no version of {trusted.sha256[:16]}…"
        raise OrderRefusedError(Code.WRONG_ROOT, f"{text}: give the newest root file, or have the order made again")
    try:
        check(order)
    except OrderError as error:
        raise OrderRefusedError(Code.STATEMENT_INVALID, str(error)) from error


def body(envelope: Envelope) -> WorkOrder:
    """The order inside, nothing judged but its form; OrderRefusedError."""
    try:
        return read(envelope, WorkOrder)
    except StatementError as error:
        raise OrderRefusedError(Code.STATEMENT_INVALID, str(error)) from error


def _require_approved(envelope: Envelope, root: Root, what: str) -> None:
    """By people whom the root names *now*: an approver who has left approves nothing any more."""
    if not envelope.signatures and root.environment == "demo":
        return
    try:
        given = approvals(envelope, root.approvers)
        require_roles(given, ORDER_ROLES, at_least=root.thresholds.order)
    except ApprovalError as error:
        text = f"{what}: {error}; next: station-signer order approve"
        raise OrderRefusedError(Code.ORDER_NOT_APPROVED, text) from error


def _require_keys(order: WorkOrder, trusted: TrustedRoot) -> None:
    """What is written into devices is what the root names; a root without signatures names nobody (`demo`)."""
    if not trusted.signed:
        return
    named = trusted.root.cloud_keys
    if order.handshakes and not named.handshake:
        text = f"order {order.order_id}: it wants handshakes, and the trust root names no key that signs their reports"
        raise OrderRefusedError(Code.ORDER_REFUSES, f"{text}: have a root made with [cloud_keys] handshake")
    for what, key, known in (
        ("cloud key", order.cloud_key, named.device_service),
        ("authority key", order.authority_key, named.authority),
    ):
        if key not in known:
            text = f"order {order.order_id}: its {what} is none that the trust root names"
            raise OrderRefusedError(Code.ORDER_REFUSES, f"{text}: correct the order, or have a root made that names it")


def _require_stations(order: WorkOrder, trusted: TrustedRoot) -> None:
    # Those of the order's own root: a station that has left since voids no order that others work under.
    strangers = sorted(set(order.stations) - set(trusted.at(order.root_sha256).stations))
    if strangers:
        text = f"order {order.order_id}: station {strangers[0]!r} is none that its trust root names"
        raise OrderRefusedError(Code.ORDER_REFUSES, f"{text}: correct the order, or have a root made that names it")
