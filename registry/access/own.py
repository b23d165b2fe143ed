"""Whose objects a station may touch: it speaks for itself, and reads about the devices of its orders.

Pure. A statement that cannot be read is let through to whoever judges statements: it is refused there, by its own code.
"""

from __future__ import annotations

from collections.abc import Callable

from registry.access.caller import Caller, StationCaller
from registry.errors import RefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import LeaseRequest
from trust.order import WorkOrder
from trust.statement import Completion, PinStatement, StatementError, read


def require_own(
    caller: Caller | None, envelope: Envelope, kind: type[PinStatement | Completion | LeaseRequest]
) -> None:
    """A station sends statements of its own signer only; RefusedError NOT_AUTHORISED."""
    try:
        station = read(envelope, kind).station
    except StatementError:
        return
    if not isinstance(caller, StationCaller) or caller.name != station:
        who = f"station {caller.name}" if isinstance(caller, StationCaller) else "nobody in particular"
        text = f"the statement is station {station}'s, the access token {who}'s: each station sends its own"
        raise RefusedError(Code.NOT_AUTHORISED, text)


def require_of_its_orders(caller: Caller | None, pin: Envelope, order: Callable[[], Envelope]) -> None:
    """A station reads about devices that it pinned, or that an order made which names it; RefusedError."""
    if not isinstance(caller, StationCaller) or read(pin, PinStatement).station == caller.name:
        return
    if caller.name in read(order(), WorkOrder).stations:
        return
    text = f"this device was pinned under an order that does not name station {caller.name}"
    raise RefusedError(Code.DEVICE_OF_OTHERS, text)
