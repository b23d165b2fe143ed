"""The registry as the flow sees it. `station.cloud.http` is the real one; nothing here knows HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.pin_act import State as PinState

# The statement will never be taken: it is booked as a loss.
REFUSED_FOR_GOOD = frozenset(
    {Code.DEVICE_HAS_OTHER_KEY, Code.KEY_ON_OTHER_DEVICE, Code.PINNED_UNDER_OTHER_JOB, Code.JOB_BYTES_DIFFER}
)


class CloudUnreachableError(Exception):
    """No answer from the registry. After a PUT the outcome is unknown: ask `history` before anything else.

    `after_s`: how long it wants not to be asked again, where it said so; nobody has looked at the request then.
    """

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class DeviceServiceUnableError(CloudUnreachableError):
    """The registry answers, and what devices connect to does not do its part: nothing is said about the device."""


class DeviceServiceAwayError(DeviceServiceUnableError):
    """It is not even there: what an order may let stand for a handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """What the registry holds about a device: pin statement and receipt, and when finished, those of the completion.

    `repin` and its receipt are there only in a refusal, where a later key of that device is what stands against it.
    """

    state: PinState
    statement: Envelope
    receipt: Envelope
    completion: Envelope | None = None
    completion_receipt: Envelope | None = None
    repin: Envelope | None = None
    repin_receipt: Envelope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryStatus:
    """What the registry says of itself, unsigned: for a look before the shift, and no decision about a unit.

    `trouble` says why it can sign no receipts now, `device_service` why no unit can meet the cloud; empty if they can.
    """

    root_sha256: str
    root_version: int
    trouble: str
    device_service: str = ""


class CloudRefusedError(Exception):
    """The registry said no. `stored` is the record that stands against the statement (409), whosever it is."""

    def __init__(self, code: Code, message: str, stored: PinRecord | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.stored = stored


@dataclass(frozen=True, slots=True)
class Sent:
    """A statement to be sent with others: a pin statement with its order, or a completion without one."""

    device: DeviceId
    statement: Envelope
    order: Envelope | None = None


@runtime_checkable
class BatchCloud(Protocol):
    """The registry, asked about many statements at once. Raises as `Cloud` does, for all of them."""

    async def batch(self, sent: Sequence[Sent]) -> list[Envelope | CloudRefusedError | CloudUnreachableError]:
        """For each, in order: the receipt of this statement, why it is refused, or that there is no answer yet."""


class Cloud(Protocol):
    """The registry. Raises CloudUnreachableError or CloudRefusedError only. Trust no answer: verify receipts."""

    async def pin(self, device: DeviceId, statement: Envelope, order: Envelope) -> PinRecord:
        """Pin (provisional); the same statement again gives the same receipt."""

    async def complete(self, device: DeviceId, completion: Envelope) -> PinRecord:
        """Make the pin active; the same completion again gives the same receipt."""

    async def lease(self, request: Envelope) -> Envelope:
        """The lease for a signer's request; the same request again gives the same lease."""

    async def history(self, device: DeviceId) -> PinRecord | None:
        """What the registry holds about this device; None if it has no pin."""
