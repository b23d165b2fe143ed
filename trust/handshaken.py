"""Whether what a completion says of the live handshake is what its order wants: proved, waived, or not asked for.

The one answer of signer, registry and flow (docs/decisions/0015). Pure. Never looks at what else a completion says, and
the audit never asks here.
"""

from __future__ import annotations

from trust import handshake
from trust.handshake import reported
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import Completion, PinStatement, StatementError, Verification


def problem(trusted: TrustedRoot, order: WorkOrder, pin: PinStatement, done: Completion) -> str | None:
    """Why this completion of the pin has not the handshake that the order wants; None if it has.

    A report may be older than the completion, but is the same station's: who finishes a unit has carried for it.
    """
    said = done.verification
    wrong = _shape(said) or _allowed(order, said)
    if wrong is not None or said.handshake_report is None:
        return wrong
    try:
        report = reported(trusted, said.handshake_report)
    except StatementError as error:
        return str(error)
    return handshake.problem(report, pin, order, station=done.station)


def _shape(said: Verification) -> str | None:
    """A report is there when one is claimed, a waiver when it is waived, and neither otherwise."""
    if (said.handshake_report is not None) != (said.handshake == "proved"):
        return f"handshake {said.handshake} {'with' if said.handshake_report else 'without'} a handshake report"
    if bool(said.handshake_waiver) != (said.handshake == "waived"):
        return f"handshake {said.handshake} with waiver {said.handshake_waiver!r}"
    return None


def _allowed(order: WorkOrder, said: Verification) -> str | None:
    if not order.handshakes:
        return None if said.handshake == "not-asked" else f"handshake {said.handshake}, and the order asks for none"
    if said.handshake == "not-asked":
        return f"the order asks for a live handshake ({order.service}), and there was none"
    if said.handshake_waiver and said.handshake_waiver not in order.handshake_waivers:
        return f"the handshake was waived for {said.handshake_waiver!r}, which the order does not allow"
    return None
