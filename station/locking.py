"""The lock of a unit, closed and tried: what the story calls for a unit that passes, and for one that is whole again.

Never judges whether it may be locked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fixtures.device import Anchor, Identity
from station import checks
from station.faults import fault
from station.unit import Unit
from station.writes import make_so
from trust.identity import JobId
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.statement import Closing


async def locked(
    unit: Unit, before: Identity, key: PublicKey, job: JobId, anchor: Anchor, *, work: WorkOrder,
    challenge: Callable[[], Awaitable[bytes]],
) -> Closing:  # fmt: skip
    """Writes closed; after a power cycle the same unit, key and anchor, and a write refused; the unit's word for it.

    `challenge` is asked for as late as it can be. Debug access and read-out must be as the order wants them at the end.
    """
    await make_so(
        True, read=unit.locked, write=lambda: unit.device.lock(job), reopen=unit.open, differs="lock-not-holding"
    )
    now = (await unit.cycle()).identity
    await unit.unchanged(before, now, key, job, anchor)
    await unit.write_refused(anchor)
    asked = await challenge()
    signed = await unit.device.report(asked)
    checks.closing_report(asked, signed, key=key, job=job, identity=now, anchor=anchor)
    security = now.security
    missing = work.after_lock.missing(debug_closed=security.debug_closed, readout_protected=security.readout_protected)
    if missing is not None:
        raise fault("report-differs", f"the order does not let it leave like this: {missing}")
    return Closing(challenge=asked, report=signed.report, signature=signed.signature)
