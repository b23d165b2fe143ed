"""Whether a receipt is the registry's word on this very statement. Pure; shared by outbox and audit.

Answers with a sentence, never raises: what came from the network is judged, not trusted.
"""

from __future__ import annotations

from station.jobs import RecordKind
from trust.dsse import Envelope
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, Receipt, StatementError, read, verify

_ABOUT = {RecordKind.PIN: "pin", RecordKind.COMPLETION: "completion"}


def receipt_problem(trusted: TrustedRoot, kind: RecordKind, statement: Envelope, receipt: Envelope) -> str | None:
    """Why the receipt is not good for this statement (PIN or COMPLETION) under this root; None if it is."""
    try:
        told = verify(receipt, Receipt, trusted.root.receipt_key)
        about = read(statement, PinStatement) if kind is RecordKind.PIN else read(statement, Completion)
    except (StatementError, RootError) as error:
        return str(error)
    for name, found, wanted in [
        ("environment", told.environment, trusted.root.environment),
        ("trust root", told.root_sha256, trusted.sha256),
        ("registry", told.registry, trusted.root.registry),
        ("subject", told.subject, _ABOUT.get(kind)),
        ("statement", told.statement_sha256, statement.payload_sha256),
        ("order", told.order_id, about.order_id),
        ("job", told.job, about.job),
        ("device", told.device_id, about.device_id),
        ("fingerprint", told.fingerprint, about.fingerprint),
    ]:
        if found != wanted:
            return f"receipt: {name} is {found!r}, expected {wanted!r}"
    if kind is RecordKind.COMPLETION and told.state != "active":
        return f"receipt of a completion says {told.state!r}, expected 'active'"
    return None
