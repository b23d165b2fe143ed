"""The pins of the field for one handshake from one place: looked up only if that place may still try this device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from registry.device_service.field.failures import Failures
from trust.identity import DeviceId


class FieldPins(Protocol):
    """Which keys are good in the field."""

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """DER SubjectPublicKeyInfo of the device's keys that are good now, the newest first; empty for none."""

    def good(self, spki: bytes) -> DeviceId | None:
        """Whose pin this DER SubjectPublicKeyInfo is, now; None for nobody's."""


@dataclass(frozen=True, slots=True)
class KnownHere:
    """A device that has failed too often is, for now, one without a pin; `limited` is told of it."""

    pins: FieldPins
    failures: Failures
    host: str
    limited: Callable[[], None]

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """As the pins have it."""
        if not self.failures.names(self.host, device):
            self.limited()
            return ()
        return self.pins.keys_of(device)

    def good(self, spki: bytes) -> DeviceId | None:
        """As the pins have it."""
        device = self.pins.good(spki)
        if device is None or self.failures.names(self.host, device):
            return device
        self.limited()
        return None
