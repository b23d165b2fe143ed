"""What is known, for one handshake from one place: pins, and only if that place may still try this device.

Over UDP also keys that were only proposed. Over TCP there are none: a device that does not send its key along could not
be asked about any but its pinned one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from registry.device_service.field.failures import Failures
from trust.identity import DeviceId


class FieldPins(Protocol):
    """Which keys are good in the field."""

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """DER SubjectPublicKeyInfo of the device's keys that are good now, the newest first; empty for none."""

    def good(self, spki: bytes) -> DeviceId | None:
        """Whose pin this DER SubjectPublicKeyInfo is, now; None for nobody's."""


class Proposals(Protocol):
    """Keys that a device may show, by one handshake, that it has; nothing else comes of it."""

    def owner(self, spki: bytes) -> DeviceId | None:
        """For whom this DER SubjectPublicKeyInfo is proposed and not proved yet."""

    def proved(self, device: DeviceId, spki: bytes, protocol: Literal["tcp", "udp"], transcript: bytes) -> bool:
        """Put on record that it has; False if it has been before."""


@dataclass(slots=True)
class KnownHere:
    """A device that has failed too often is, for now, one without a pin; `limited` is told of it.

    `proving`: the key that was asked for last is no pin's, but a proposed one.
    """

    pins: FieldPins
    failures: Failures
    host: str
    limited: Callable[[], None]
    proposals: Proposals | None = None
    proving: bool = False

    def keys_of(self, device: DeviceId) -> Sequence[bytes]:
        """As the pins have it."""
        if not self.failures.names(self.host, device):
            self.limited()
            return ()
        return self.pins.keys_of(device)

    def good(self, spki: bytes) -> DeviceId | None:
        """As the pins have it."""
        device = self.pins.good(spki)
        if device is None and self.proposals is not None:
            device = self.proposals.owner(spki)
            self.proving = device is not None
        if device is None or self.failures.names(self.host, device):
            return device
        self.limited()
        return None
