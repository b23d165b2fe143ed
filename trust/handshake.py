"""Handshake reports: the device service's word that a device and the cloud have proved themselves to each other. Pure.

Neither the handshake's own bytes are in it, of which the hash of the transcript speaks, nor anything that a
station could have made up. Never says whether an order wants one.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trust.differing import differing
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.root import RootError, TrustedRoot
from trust.statement import DeviceHex, Hex32, JobHex, Name, PinStatement, Statement, StatementError, Utc, moment, read

Suite = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_.+-]{1,64}\Z")]


class HandshakeReport(Statement, frozen=True, kw_only=True, tag="handshake-report"):
    """At `at` this device, with this key, and the cloud, with that one, completed a handshake by a station's relay.

    Signed for purpose *handshake*. `protocol` is the order's service; `suite` as the protocol names it;
    `transcript_sha256` over all messages of the handshake, in their order.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.handshake-report.v1+json"
    registry: Name
    station: Name
    order_id: Name
    job: JobHex
    device_id: DeviceHex
    fingerprint: Hex32
    cloud_fingerprint: Hex32
    protocol: Literal["tcp", "udp"]
    suite: Suite
    transcript_sha256: Hex32
    path: Literal["relay"] = "relay"
    at: Utc


def reported(trusted: TrustedRoot, envelope: Envelope) -> HandshakeReport:
    """The report, signed by the handshake key of the root's version that it names or of one since; StatementError."""
    said = read(envelope, HandshakeReport)
    try:
        roots = trusted.since(said.root_sha256)
    except RootError as error:
        raise StatementError(f"handshake report: {error}") from error
    root = roots[0]
    if (said.environment, said.registry) != (root.environment, root.registry):
        raise StatementError("the handshake report is of another environment or registry")
    keys = {each.cloud_keys.handshake for each in roots if each.cloud_keys.handshake}
    if not keys:
        raise StatementError("the trust root names no handshake key: no handshake report is taken")
    if not any(envelope.signed_by(PublicKey.from_der(each)) for each in sorted(keys)):
        raise StatementError("handshake report: not signed by the root's handshake key and by it alone")
    moment(said.at)
    return said


def is_in_force(trusted: TrustedRoot, envelope: Envelope) -> bool:
    """Whether the root's present handshake key has signed it: for who lets something new happen on it."""
    key = trusted.root.cloud_keys.handshake
    return bool(key) and envelope.signed_by(PublicKey.from_der(key))


def problem(report: HandshakeReport, pin: PinStatement, order: WorkOrder, *, station: str) -> str | None:
    """Why it does not prove that this pin and the order's cloud key have met by this station's relay; None if it does.

    The station may be another one than the pin's: the one that finishes the unit.
    """
    return differing(
        "handshake report and pin",
        [
            ("station", report.station, station),
            ("order", report.order_id, pin.order_id),
            ("job", report.job, pin.job),
            ("device", report.device_id, pin.device_id),
            ("device key", report.fingerprint, pin.fingerprint),
            ("cloud key", report.cloud_fingerprint, order.cloud.fingerprint),
            ("protocol", report.protocol, order.service),
        ],
    )
