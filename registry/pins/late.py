"""Whether a stored row that has no receipt may still get one: only what would be taken in at this very moment. Pure.

A row that somebody has put into the database looks like one whose registry died between commit and receipt. So its own
words do not count: not its time, if that is long ago, and not the people and stations that were trusted then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from registry.errors import RefusedError
from registry.pins.checks import check_pin
from registry.pins.closing import check_signed
from registry.pins.rows import DeviceRows, Row
from trust import pin_act
from trust.act import ActRefusedError
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId, IdentityError
from trust.root import TrustedRoot
from trust.statement import StatementError, moment

LATEST: Final = timedelta(days=7)  # the registry's signer may have been silent over the holidays
_AHEAD: Final = timedelta(minutes=5)  # of processes beside each other no two clocks are the same
ACT_IS_OVER: Final = timedelta(hours=1)  # done in its last minute, and the registry died: no longer than this


def pin_problem(rows: DeviceRows, statement: Envelope, trusted: TrustedRoot, now: datetime) -> str | None:
    """Why the pin would not be taken in now, under any approvals that its order has got; None if it would."""
    wrong = _time_problem(str(rows.pin["registered_at"]), now)
    if wrong is not None:
        return wrong
    wrong = "its order is missing"
    for row in reversed(rows.orders):  # the newest approvals first
        try:
            check_pin(trusted, DeviceId.parse(rows.device_id), statement, Envelope.from_json(row["envelope"]))
        except (RefusedError, EnvelopeError, IdentityError) as error:
            wrong = str(error)
        else:
            return None
    return wrong


def completion_problem(row: Row, completion: Envelope, trusted: TrustedRoot, now: datetime) -> str | None:
    """Why the completion would not be taken in now; None if it would."""
    wrong = _time_problem(str(row["registered_at"]), now)
    if wrong is not None:
        return wrong
    try:
        check_signed(trusted, DeviceId.parse(row["device_id"]), completion)
    except (RefusedError, IdentityError) as error:
        return str(error)
    return None


def act_problem(act: Envelope, at: str, trusted: TrustedRoot, now: datetime, before: str | None) -> str | None:
    """Why the act would not be done now; None if it would. `before`: when the device's act before it was done."""
    try:
        last = now if before is None else max(now, moment(before))  # a clock may have been set back
        wrong = _time_problem(at, last)
        if wrong is not None:
            return wrong
        if before is not None and moment(at) < moment(before):
            return f"it is of {at}, the act before it of {before}"
        pin_act.allowed(act, trusted, max(moment(at), now - ACT_IS_OVER))
    except (ActRefusedError, StatementError) as error:
        return str(error)
    return None


def _time_problem(registered_at: str, now: datetime) -> str | None:
    try:
        at = moment(registered_at)
    except StatementError as error:
        return str(error)
    if at.tzinfo is None:
        return f"{registered_at} is no time in UTC"
    if now - at > LATEST:
        return f"it is of {registered_at}, more than {LATEST.days} days ago"
    if at - now > _AHEAD:
        return f"it is of {registered_at}, which is still to come"
    return None
