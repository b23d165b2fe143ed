"""Handshake reports that hold as made, for the parties' tests to spoil."""

from __future__ import annotations

from typing import Any

import msgspec

from trust.handshake import HandshakeReport
from trust.order import WorkOrder
from trust.root import TrustedRoot


def report_of(trusted: TrustedRoot, order: WorkOrder, /, **says: Any) -> HandshakeReport:
    """What the device service says of a device; `says` names station, job, device and its fingerprint at the least."""
    fields = ("station", "job", "device_id", "fingerprint")
    said = HandshakeReport(
        environment=order.environment, root_sha256=trusted.sha256, registry=trusted.root.registry,
        order_id=order.order_id, cloud_fingerprint=order.cloud.fingerprint, protocol=order.service,
        suite="ECDHE-ECDSA-AES128-CCM-8", transcript_sha256="ab" * 32, at="2026-01-31T12:00:00Z",
        **{name: says.pop(name) for name in fields},
    )  # fmt: skip
    return msgspec.structs.replace(said, **says)
