"""A station's part of an order as it is now: what the order says, raised by acts, less what was returned.

From papers on record only: the signer's own limits are the ones that bind.
"""

from __future__ import annotations

from station.jobs.store import JobStore
from trust.account import AllotmentReturn
from trust.act import Act, ActKind
from trust.dsse import Envelope
from trust.order import Allotment, WorkOrder
from trust.statement import read


async def allotted(store: JobStore, work: WorkOrder) -> Allotment:
    """Good units and spare pin statements of this station. Raises LedgerError."""
    part = work.allotted(store.station)
    quantity, allowance = part.quantity, part.allowance
    for paper in await store.papers(work.order_id):
        more = _change(paper)
        quantity, allowance = quantity + more[0], allowance + more[1]
    return Allotment(quantity=max(quantity, 0), allowance=max(allowance, 0))


async def acts_of(store: JobStore, order_id: str, kind: ActKind) -> tuple[Act, ...]:
    """The acts of this kind on record about an order. Raises LedgerError."""
    papers = [each for each in await store.papers(order_id) if each.payload_type == Act.PAYLOAD_TYPE]
    return tuple(act for act in (read(each, Act) for each in papers) if act.kind == kind)


def _change(paper: Envelope) -> tuple[int, int]:
    if paper.payload_type == Act.PAYLOAD_TYPE:
        act = read(paper, Act)
        return 0, act.units if act.kind == "raise-allowance" else 0
    returned = read(paper, AllotmentReturn)
    return -returned.quantity, -returned.allowance
