"""A station's part of an order as it is now: what the order says, raised by acts, less what was returned.

From papers on record only: the signer's own limits are the ones that bind.
"""

from __future__ import annotations

from station.jobs.store import JobStore
from trust.account import AllotmentReturn
from trust.act import Act
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


def _change(paper: Envelope) -> tuple[int, int]:
    if paper.payload_type == Act.PAYLOAD_TYPE:
        return 0, read(paper, Act).units
    returned = read(paper, AllotmentReturn)
    return -returned.quantity, -returned.allowance
