"""The live handshake that a completion claims: the report's signature, what it is about, and a waiver's leave.

Pure; yields a sentence for each thing that differs. Written from docs/statements.md for the audit alone, and imported
by nobody else: signer, registry and flow have `trust.handshaken`, which is among what is audited (docs/decisions/0015).
"""

from __future__ import annotations

from collections.abc import Iterator

from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.root import RootError, TrustedRoot
from trust.statement import Completion, PinStatement, StatementError, read


def problems(done: Completion, pin: PinStatement, order: WorkOrder, trusted: TrustedRoot) -> Iterator[str]:
    """What does not hold about the handshake of this completion of the pin under this order."""
    said = done.verification
    have = (said.handshake_report is not None, said.handshake_waiver != "")
    if have != {"proved": (True, False), "waived": (False, True), "not-asked": (False, False)}[said.handshake]:
        yield f"handshake {said.handshake!r}, with report {have[0]} and waiver {said.handshake_waiver!r}"
    if (said.handshake == "not-asked") != (len(order.handshakes) == 0):
        yield f"handshake {said.handshake!r}, and the order wants {', '.join(order.handshakes) or 'none'}"
    if said.handshake == "waived" and said.handshake_waiver not in order.handshake_waivers:
        yield f"handshake waived for {said.handshake_waiver!r}: the order does not allow that"
    if said.handshake_report is not None:
        yield from _report(said.handshake_report, done, pin, order, trusted)


def on_record(
    report: Envelope, pin: Envelope | None, order: WorkOrder, trusted: TrustedRoot, station: str
) -> Iterator[str]:
    """What does not hold about a report in the log of this station, beside the job's pin statement and order."""
    told = read(report, HandshakeReport)
    yield from report_problems(report, trusted)
    if pin is None:
        yield "a handshake report without a pin statement on record"
        return
    for name, found, wanted in (
        ("station", told.station, station), ("device key", told.fingerprint, read(pin, PinStatement).fingerprint),
        ("cloud key", told.cloud_fingerprint, order.cloud.fingerprint), ("protocol", told.protocol, order.service),
    ):  # fmt: skip
        if found != wanted:
            yield f"handshake report: {name} is {found!r}, expected {wanted!r}"


def report_problems(report: Envelope, trusted: TrustedRoot) -> Iterator[str]:
    """What does not hold about a handshake report by itself: environment, registry, and whose signature it carries."""
    told = read(report, HandshakeReport)
    root = trusted.root
    for name, found, wanted in (
        ("environment", told.environment, root.environment), ("registry", told.registry, root.registry),
    ):  # fmt: skip
        if found != wanted:
            yield f"handshake report: {name} is {found!r}, expected {wanted!r}"
    try:
        named = [each.cloud_keys.handshake for each in trusted.since(told.root_sha256)]
    except RootError as error:
        yield f"handshake report: {error}"
        return
    if not any(report.signed_by(PublicKey.from_der(key)) for key in named if key):
        yield "handshake report: not signed by a handshake key of its trust root's version or of one since"


def _report(
    report: Envelope, done: Completion, pin: PinStatement, order: WorkOrder, trusted: TrustedRoot
) -> Iterator[str]:
    try:
        told = read(report, HandshakeReport)
    except StatementError as error:
        yield f"handshake report: {error}"
        return
    yield from report_problems(report, trusted)
    for name, found, wanted in (
        ("station", told.station, done.station), ("order", told.order_id, done.order_id),
        ("job", told.job, done.job), ("device", told.device_id, done.device_id),
        ("device key", told.fingerprint, pin.fingerprint), ("protocol", told.protocol, order.service),
        ("cloud key", told.cloud_fingerprint, done.cloud_fingerprint),
    ):  # fmt: skip
        if found != wanted:
            yield f"handshake report: {name} is {found!r}, expected {wanted!r}"
