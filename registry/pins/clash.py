"""Why a pin or completion met one that was there before: pure, after an insert was refused.

The gravest finding speaks: a key, modulus or nonce on two devices endangers the fleet, another key on a device that one
unit, another job or other bytes neither. Never the guard: that is the unique constraints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from registry.errors import RefusedError
from registry.pins.checks import CheckedPin
from registry.pins.closing import CheckedCompletion
from registry.pins.record import PinRecord
from registry.pins.store import Rival
from trust.codes import Code


@dataclass(frozen=True, slots=True)
class Clash:
    """A refusal. `holder` is the device whose stored record stands against the statement: the answer shows it.

    A station takes a refusal for good only with the record that proves it.
    """

    code: Code
    message: str
    _: KW_ONLY
    holder: str


def of_pin(checked: CheckedPin, rivals: Sequence[Rival], nonce_owners: Sequence[str]) -> Clash | None:
    """What is wrong with the pin, given the stored pins that share something with it; None if nothing is."""
    pin = checked.statement
    for each in rivals:
        if each.device_id != pin.device_id and (each.fingerprint == pin.fingerprint or each.same_modulus):
            text = f"this key is pinned for device {each.device_id}: keys repeat, stop"
            return Clash(Code.KEY_ON_OTHER_DEVICE, text, holder=each.device_id)
    others = [each for each in nonce_owners if each != pin.device_id]
    if others:
        return Clash(Code.KEY_ON_OTHER_DEVICE, _same_nonce(others[0]), holder=others[0])
    own = next((each for each in rivals if each.device_id == pin.device_id), None)
    if own is not None:
        return _same_device(checked, own)
    if rivals:
        text = f"job {pin.job} pinned device {rivals[0].device_id}: a job is one device's"
        return Clash(Code.JOB_BYTES_DIFFER, text, holder=rivals[0].device_id)
    return None


def of_completion(checked: CheckedCompletion, record: PinRecord, nonce_owners: Sequence[str]) -> Clash | None:
    """What is wrong with the completion, given the device's record; None if it is the one stored.

    Raises RefusedError for what only the statement itself proves.
    """
    own = str(checked.device)
    if record.completion is not None:
        if record.completion.statement.payload == checked.envelope.payload:
            return None
        text = "this pin was completed with another statement: use the stored one"
        return Clash(Code.JOB_BYTES_DIFFER, text, holder=own)
    others = [each for each in nonce_owners if each != own]
    if others:
        return Clash(Code.KEY_ON_OTHER_DEVICE, _same_nonce(others[0]), holder=others[0])
    if nonce_owners:
        text = "the device used one nonce for two messages: its key is exposed, quarantine it"
        raise RefusedError(Code.PROOF_INVALID, text)
    raise AssertionError("a completion was refused by the database and nothing stored says why")


def _same_device(checked: CheckedPin, own: Rival) -> Clash:
    pin = checked.statement
    if own.fingerprint != pin.fingerprint:
        text = f"device {pin.device_id} is pinned with another key: quarantine it"
        return Clash(Code.DEVICE_HAS_OTHER_KEY, text, holder=own.device_id)
    if own.job != pin.job:
        text = f"this device and key are pinned under job {own.job}: go on with the stored statement"
        return Clash(Code.PINNED_UNDER_OTHER_JOB, text, holder=own.device_id)
    text = f"job {pin.job} pinned other bytes: send the stored statement"
    return Clash(Code.JOB_BYTES_DIFFER, text, holder=own.device_id)


def _same_nonce(owner: str) -> str:
    return f"device {owner} signed with the same nonce: random numbers repeat, stop"
