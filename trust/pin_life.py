"""A device's pins over time: which key is good now, which one is going out, and what an act changes about that.

Pure, and the one rule for everybody: the registry asks before it stores an act, its readers fold all acts of a device
again from the beginning, whatever a row says. Never verifies a signature (`trust.pin_act`), and never looks at a clock.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime, timedelta

from trust.codes import Code
from trust.order import WorkOrder
from trust.pin_act import PinAct, State, gives_key
from trust.statement import StatementError, moment


class LifeError(Exception):
    """The act does not fit the device as it is; `code` says what kind of reason, the text which and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Expiring:
    """An old key that is good beside the new one until a time (UTC, RFC 3339)."""

    fingerprint: str
    ends_at: str


@dataclass(frozen=True, slots=True)
class Life:
    """A device's state, its newest key, and the one before it while that is still good.

    So it has at most one active and one expiring key. `before`: what a scrapped device was.
    """

    state: State
    fingerprint: str
    _: KW_ONLY
    expiring: Expiring | None = None
    before: Life | None = None


def begun(fingerprint: str) -> Life:
    """A device with a pin statement."""
    return Life("provisional", fingerprint)


def completed(life: Life) -> Life:
    """The device is finished: its pin is active; LifeError for one that does not wait for that."""
    if life.state != "provisional":
        text = f"the device is {life.state}: only a provisional pin can be completed"
        raise LifeError(Code.DEVICE_SCRAPPED if life.state == "scrapped" else Code.NOT_PINNED, text)
    return replace(life, state="active")


def after(life: Life, act: PinAct, order: WorkOrder, at: datetime, new_fingerprint: str = "") -> Life:
    """What the device is once the act is done at this time; LifeError.

    `new_fingerprint`: of the key that was proved, for acts that pin one. `order`: the one of the device's first pin.
    """
    _require_known(life, act)
    match act.kind:
        case "repin" | "rekey":
            return _renewed(life, act, order, at, new_fingerprint)
        case "revoke":
            return _revoked(life, act)
        case "scrap":
            _require_state(life, act, "provisional", "active", "revoked")
            return Life("scrapped", life.fingerprint, before=life)
        case "unscrap":
            _require_state(life, act, "scrapped")
            return _unscrapped(life)


def _renewed(life: Life, act: PinAct, order: WorkOrder, at: datetime, new_fingerprint: str) -> Life:
    if not gives_key(act):
        raise _wrong(act, "it pins no key: nothing changes at the registry")
    _require_state(life, act, "active", "revoked")
    if not new_fingerprint or act.new_fingerprint not in {"", new_fingerprint}:
        raise _wrong(act, f"it is about key {act.new_fingerprint[:16]}…, proved was {new_fingerprint[:16]}…")
    old = life.expiring
    if old is not None and at < moment(old.ends_at):
        text = f"key {old.fingerprint[:16]}… is good until {old.ends_at}: revoke it first, or wait"
        raise LifeError(Code.ACT_CONFLICT, f"a device has one expiring key at most, and its {text}")
    if not act.ends_at or life.state == "revoked":
        return Life("active", new_fingerprint)
    try:
        left = moment(act.ends_at) - at
    except StatementError as error:
        raise _wrong(act, str(error)) from error
    if not timedelta() < left <= timedelta(days=order.overlap_days):
        text = f"the old key would end at {act.ends_at}: the order allows at most {order.overlap_days} days from now"
        raise LifeError(Code.ORDER_REFUSES, f"{text}; have the act made again")
    return Life("active", new_fingerprint, expiring=Expiring(life.fingerprint, act.ends_at))


def _revoked(life: Life, act: PinAct) -> Life:
    _require_state(life, act, "active")
    if life.expiring is not None and act.fingerprint == life.expiring.fingerprint:
        return replace(life, expiring=None)
    return Life("revoked", life.fingerprint)


def _unscrapped(life: Life) -> Life:
    if life.before is None or life.before.state == "provisional":
        # Its station's signer has counted it out for good, and would not complete it.
        raise LifeError(Code.DEVICE_SCRAPPED, "the device was scrapped before it was finished: its id stays burned")
    return life.before


def _require_known(life: Life, act: PinAct) -> None:
    """The approvers knew the device as it is."""
    if act.was and act.was != life.state:
        text = f"it was approved for a device that is {act.was}, this one is {life.state}"
        raise LifeError(Code.ACT_CONFLICT, f"act {act.kind}: {text}; have it made again")
    own = {life.fingerprint}
    if act.kind == "revoke" and life.expiring is not None:
        own.add(life.expiring.fingerprint)
    if act.fingerprint not in own:
        text = f"it is about key {act.fingerprint[:16]}…, the device has {life.fingerprint[:16]}…"
        raise LifeError(Code.ACT_CONFLICT, f"act {act.kind}: {text}; have it made again")


def _require_state(life: Life, act: PinAct, *wanted: State) -> None:
    if life.state not in wanted:
        text = f"the device is {life.state}, it must be {' or '.join(wanted)}"
        raise LifeError(Code.ACT_CONFLICT, f"act {act.kind}: {text}")


def _wrong(act: PinAct, text: str) -> LifeError:
    return LifeError(Code.STATEMENT_INVALID, f"act {act.kind}: {text}")
