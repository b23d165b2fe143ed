"""Whether a receipt is the registry's word on this very statement.

The one answer of signer, flow and outbox (docs/decisions/0015). Pure; answers with a sentence, never raises: what came
from a network is judged, not trusted. The key is that of the root's version that the receipt names: whether it is still
in force is a question for who lets something new happen (the signer). The audit never asks here.
"""

from __future__ import annotations

from typing import NamedTuple

from trust.differing import differing
from trust.dsse import Envelope
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, Receipt, StatementError, read, verify


class _Wanted(NamedTuple):
    subject: str
    state: str


_PIN, _COMPLETION = _Wanted("pin", "provisional"), _Wanted("completion", "active")


def problem(trusted: TrustedRoot, statement: Envelope, receipt: Envelope) -> str | None:
    """Why the receipt is not good for this pin statement or completion under this root; None if it is."""
    is_pin = statement.payload_type == PinStatement.PAYLOAD_TYPE
    wanted = _PIN if is_pin else _COMPLETION
    try:
        told = verify(receipt, Receipt, trusted.at(read(receipt, Receipt).root_sha256).receipt_key)
        about = read(statement, PinStatement) if is_pin else read(statement, Completion)
    except StatementError as error:
        return str(error)
    except RootError as error:
        return f"receipt: {error}"
    return differing(
        "receipt",
        [
            ("environment", told.environment, trusted.root.environment),
            ("registry", told.registry, trusted.root.registry),
            ("subject", told.subject, wanted.subject),
            ("statement", told.statement_sha256, statement.payload_sha256),
            ("order", told.order_id, about.order_id),
            ("job", told.job, about.job),
            ("device", told.device_id, about.device_id),
            ("fingerprint", told.fingerprint, about.fingerprint),
            ("state", told.state, wanted.state),
        ],
    )
