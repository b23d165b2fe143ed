"""Whether a receipt is the registry's word on an act that it has done, or on the new key that came of one.

For stations, which believe no state and no key that the registry only tells. Pure. That people wanted the act is for
`trust.pin_act`, that the device holds the key for `trust.repin`: never judged here.
"""

from __future__ import annotations

from trust.differing import differing
from trust.dsse import Envelope
from trust.repin import Repin
from trust.root import RootError, TrustedRoot
from trust.statement import Receipt, StatementError, read, verify


def told(trusted: TrustedRoot, device_id: str, statement: Envelope, receipt: Envelope) -> Receipt:
    """What it tells; `statement` is the act, or the new key's statement where one came of it. StatementError."""
    try:
        found = verify(receipt, Receipt, trusted.at(read(receipt, Receipt).root_sha256).receipt_key)
    except RootError as error:
        raise StatementError(f"receipt of an act: {error}") from error
    is_repin = statement.payload_type == Repin.PAYLOAD_TYPE
    rows = [
        ("environment", found.environment, trusted.root.environment),
        ("registry", found.registry, trusted.root.registry),
        ("subject", found.subject, "repin" if is_repin else "act"),
        ("statement", found.statement_sha256, statement.payload_sha256),
        ("device", found.device_id, device_id),
    ]
    if is_repin:
        rows.append(("fingerprint", found.fingerprint, read(statement, Repin).fingerprint))
    wrong = differing("receipt of an act", rows)
    if wrong is not None:
        raise StatementError(wrong)
    return found
