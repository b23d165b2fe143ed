"""A receipt on record: the registry's signed word, held against the statement that it is for.

Pure. Written from docs/statements.md for the audit alone, and imported by nobody else: signer, flow and outbox have
`trust.receipt`, which is among what is audited (docs/decisions/0015).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from station.jobs import RecordKind
from trust.dsse import Envelope
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, Receipt, StatementError, read

_ANSWERS = {
    RecordKind.PIN_RECEIPT: (RecordKind.PIN, "pin", "provisional"),
    RecordKind.COMPLETION_RECEIPT: (RecordKind.COMPLETION, "completion", "active"),
}


def problems(
    kind: RecordKind, receipt: Envelope, told: Mapping[RecordKind, Envelope], trusted: TrustedRoot
) -> Iterator[str]:
    """What does not hold about a receipt of this kind; `told` are the job's records before it."""
    statement_kind, subject, state = _ANSWERS[kind]
    if statement_kind not in told:
        yield "a receipt for a statement that is not on record"
        return
    statement = told[statement_kind]
    try:
        said = read(receipt, Receipt)
        about = read(statement, PinStatement) if subject == "pin" else read(statement, Completion)
        if not receipt.signed_by(trusted.at(said.root_sha256).receipt_key):
            yield "receipt: not signed by the key that the trust root names"
    except (StatementError, RootError) as error:
        yield str(error)
        return
    wanted = {
        "environment": trusted.root.environment, "registry": trusted.root.registry,
        "subject": subject, "state": state, "statement_sha256": statement.payload_sha256, "order_id": about.order_id,
        "job": about.job, "device_id": about.device_id, "fingerprint": about.fingerprint,
    }  # fmt: skip
    for name, value in wanted.items():
        found = getattr(said, name)
        if found != value:
            yield f"receipt: {name} is {found!r}, expected {value!r}"
