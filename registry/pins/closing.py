"""What a completion must satisfy against the pin that it closes: pure, every rule by value.

All that the device signed is judged here again, with the pinned key (`trust.closing`), so that a pin turns active on
the device's own words and not on the station's. Never looks anything up.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from registry.errors import RefusedError
from registry.pins.checks import (
    parsed,
    parsed_order,
    require_device,
    require_here,
    require_permitted,
    require_signature,
)
from registry.pins.record import PinRecord
from trust import closing
from trust import order as orders
from trust.closing import About
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.signed import nonces, signed_in
from trust.statement import Completion

_CODES = MappingProxyType(
    {
        About.PIN: Code.STATEMENT_INVALID,
        About.PROOF: Code.PROOF_INVALID,
        About.REPORT: Code.REPORT_INVALID,
        About.HANDSHAKE: Code.HANDSHAKE_MISSING,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCompletion:
    """A completion that holds for its pin: may be inserted. Only `check_completion` makes one."""

    device: DeviceId
    statement: Completion
    envelope: Envelope
    order: WorkOrder
    nonces: frozenset[bytes]


def check_signed(trusted: TrustedRoot, device: DeviceId, envelope: Envelope) -> Completion:
    """The completion, if it is of this environment and root, of this device, and its station's signer signed it."""
    done = parsed(envelope, Completion)
    require_here(trusted, done, "completion")
    require_signature(envelope, trusted.root.completion_key, done.station, "completion")
    require_device(device, done.device_id)
    return done


def check_completion(
    trusted: TrustedRoot, done: Completion, envelope: Envelope, record: PinRecord, order_envelope: Envelope
) -> CheckedCompletion:
    """The completion (from `check_signed`), if it closes this pin under this order; RefusedError otherwise."""
    if done.pin_sha256 != record.pin.statement.payload_sha256:
        raise RefusedError(Code.NOT_PINNED, "the completion closes another pin than the one stored", record)
    order = parsed_order(order_envelope)
    wrong = closing.problem(trusted, done, record.pin.statement, record.pin.receipt, order)
    if wrong is not None:
        raise RefusedError(_CODES[wrong.about], wrong.text, record if wrong.about is About.PIN else None)
    require_permitted(orders.permits(order, order_envelope.payload_sha256, done))
    used = frozenset(nonces(signed_in(done)))
    return CheckedCompletion(device=record.device, statement=done, envelope=envelope, order=order, nonces=used)
