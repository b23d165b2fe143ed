"""What a job's completion says of its live handshake, judged: for whoever asks about a device. Decides nothing.

Must never say *proved* of a report that does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping

from station.jobs import RecordKind
from trust import handshaken
from trust.dsse import Envelope
from trust.handshake import HandshakeReport, reported
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement, StatementError, Verification, read


def judged(
    root: TrustedRoot, order: Envelope | None, records: Mapping[RecordKind, Envelope]
) -> Verification | str | None:
    """What the completion says; why it does not hold; None before there is one."""
    pin, done = records.get(RecordKind.PIN), records.get(RecordKind.COMPLETION)
    if done is None or pin is None or order is None:
        return None
    try:
        said, pinned, work = read(done, Completion), read(pin, PinStatement), read(order, WorkOrder)
    except StatementError as error:
        return str(error)
    return handshaken.problem(root, work, pinned, said) or said.verification


def shown(root: TrustedRoot, order: Envelope | None, records: Mapping[RecordKind, Envelope]) -> str:
    """One clause; empty before the completion."""
    said = judged(root, order, records)
    if said is None or isinstance(said, str):
        return "" if said is None else f"DOES NOT HOLD: {said}"
    report = said.handshake_report
    if report is None:
        return f"waived: {said.handshake_waiver}" if said.handshake_waiver else said.handshake
    told = read(report, HandshakeReport)
    return f"proved over {told.protocol}, {told.suite}, carried by station {told.station}, {told.at}"


def key_of(root: TrustedRoot, report: Envelope) -> PublicKey | None:
    """The handshake key of the root, now or since it was made, that has signed it; None for nobody's."""
    try:
        versions = root.since(reported(root, report).root_sha256)
    except StatementError:
        return None
    named = {each.cloud_keys.handshake for each in versions if each.cloud_keys.handshake}
    keys = (PublicKey.from_der(each) for each in sorted(named))
    return next((each for each in keys if report.signed_by(each)), None)
