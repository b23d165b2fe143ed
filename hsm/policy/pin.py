"""May this pin statement be signed? Every rule in the order in which it is judged; the first that fails is the answer.

What needs no memory first, what needs memory inside the one transaction that reserves: job, device, key, challenge,
count.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hsm.acts import require_running
from hsm.leases import require_lease
from hsm.orders import KnownOrder
from hsm.policy.case import Case
from hsm.policy.challenge import use_challenge
from hsm.policy.possession import claim_nonces, device_of, require_possession
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.keys import PublicKey, PublicKeyError
from trust.order import window_problem
from trust.signed import device_key
from trust.statement import PinStatement


class PinCase(Case[PinStatement]):
    """A pin statement that a station wants signed."""

    PURPOSE = Purpose.PIN
    KIND = "pin"

    def admit(self) -> None:
        """Whether it is for this signer."""
        pin = self.statement
        self.signatory.require_here(pin, "pin statement")
        device_of(pin)
        if pin.station != self.signatory.name:
            text = f"pin statement of station {pin.station!r}: this signer is {self.signatory.name!r}'s"
            raise SignerError(Code.NOT_AUTHORISED, text)
        _ = self.order

    def judge(self) -> None:
        """Whether order, key, vetting and proof hold."""
        _judge(self.order, self.statement)

    def claim(self) -> None:
        """Whether job, device, key, challenge and count allow it."""
        _claim(self.signatory, self.order, self.statement, self.key)


def _judge(order: KnownOrder, pin: PinStatement) -> None:
    """Every rule that needs no memory."""
    if pin.order_signed != order.signed:
        raise SignerError(
            Code.STATEMENT_INVALID, f"the statement says order_signed is {pin.order_signed}: it is {order.signed}"
        )
    order.require(pin)
    if pin.declared.emulated and pin.environment != "demo":
        raise SignerError(Code.WRONG_ENVIRONMENT, "an emulated device is signed for in environment 'demo' only")
    key = _device_key(pin)
    if pin.vetting.verdict != "ok":
        raise SignerError(Code.KEY_WEAK, f"the key's vetting says {pin.vetting.verdict!r}: only 'ok' is signed")
    require_possession(key, device_of(pin), "pin", pin.possession)


def _device_key(pin: PinStatement) -> PublicKey:
    try:
        return device_key(pin)
    except PublicKeyError as error:
        raise SignerError(Code.STATEMENT_INVALID, f"device key: {error}") from error


def _claim(signatory: Signatory, order: KnownOrder, pin: PinStatement, payload_sha256: str) -> None:
    """Every rule that needs memory; runs inside the reserving transaction."""
    counters = signatory.counters
    require_running(signatory)
    closed = window_problem(order.body, datetime.fromtimestamp(signatory.now(), UTC))
    if closed is not None:
        raise SignerError(Code.ORDER_REFUSES, f"order {pin.order_id}: {closed}")
    if counters.reserved_of_job("pin", pin.job) is not None:
        raise SignerError(Code.JOB_BYTES_DIFFER, f"job {pin.job} has another pin statement already: send that one")
    if counters.scrapped(pin.device_id):
        raise SignerError(Code.DEVICE_SCRAPPED, f"device {pin.device_id} was scrapped: destroy it")
    other = counters.pin_of_device(pin.device_id)
    if other is not None and other.fingerprint != pin.fingerprint:
        text = f"device {pin.device_id} was signed for with key {other.fingerprint[:16]}… under order {other.order_id}"
        raise SignerError(Code.DEVICE_HAS_OTHER_KEY, f"{text}: quarantine it")
    if other is not None:
        text = f"device {pin.device_id} was signed for with this key under job {other.job}"
        raise SignerError(Code.PINNED_UNDER_OTHER_JOB, f"{text}: go on with that job's statement")
    owner = counters.claim_key(pin.fingerprint, pin.device_id)
    if owner != pin.device_id:
        text = f"key {pin.fingerprint[:16]}… was signed for under device {owner}: two devices have the same key"
        raise SignerError(Code.KEY_ON_OTHER_DEVICE, text)
    claim_nonces(counters, pin)
    use_challenge(signatory, pin.possession.challenge, "pin", pin, payload_sha256)
    require_lease(signatory)
    if not counters.take_unit("pin", pin.order_id):
        part = order.body.allotted(signatory.name)
        text = f"its {part.quantity} units are completed here, or {part.quantity + part.allowance} devices (with the"
        text += " allowance) are signed for"
        raise SignerError(Code.ORDER_EXHAUSTED, f"order {pin.order_id}: {text}: start the next order")
