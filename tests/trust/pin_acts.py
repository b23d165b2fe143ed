"""Acts on pins for tests: right as made, by the people of `tests.trust.people`; change one field to break one."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.trust.people import Person, approved_by
from trust.dsse import Envelope
from trust.pin_act import PinAct
from trust.root import TrustedRoot
from trust.statement import envelope

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def pin_act(trusted: TrustedRoot, device: str, fingerprint: str, kind: str, /, **changes: Any) -> PinAct:
    """Made an hour ago, good for a week, for a device that is active."""
    said: dict[str, Any] = {
        "environment": trusted.root.environment, "root_sha256": trusted.sha256, "kind": kind, "reason": "for a test",
        "device_id": device, "fingerprint": fingerprint, "was": "" if kind == "rekey" else "active",
        "nonce": secrets.token_hex(32), "made_at": utc(NOW - timedelta(hours=1)), "not_after": utc(NOW + timedelta(days=7)),
    }  # fmt: skip
    return msgspec.convert({"type": "pin-act", **said, **changes}, PinAct)


def approved(act: PinAct, *who: Person) -> Envelope:
    return approved_by(envelope(act), *who)
