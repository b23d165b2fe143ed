"""Acts that raise an order's limit, brought to the registry: it counts for itself, and takes no signer's word for it.

Brought only when the registry says that the order is used up, so that nothing has to be kept about who knows what; each
counts there once, however often it is brought. Never raises anything by itself.
"""

from __future__ import annotations

import logging
from typing import Protocol, runtime_checkable

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.jobs import Jobs
from trust.act import Act
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.statement import StatementError, read

log = logging.getLogger(__name__)


@runtime_checkable
class RaisingCloud(Protocol):
    """The registry, as far as it takes such acts."""

    async def raise_limit(self, act: Envelope) -> None:
        """Let the station make more pins of an order; the same act again changes nothing."""


async def bring_raises(jobs: Jobs, cloud: object, order: Envelope) -> bool:
    """Whether the registry has taken an act of this station's ledger for this order. LedgerError; else never raises."""
    if not isinstance(cloud, RaisingCloud):
        return False
    taken = False
    for act in await jobs.papers(read(order, WorkOrder).order_id):
        if not _raises(act, order):
            continue
        try:
            await cloud.raise_limit(act)
            taken = True
        except (CloudUnreachableError, CloudRefusedError) as error:
            log.warning("the registry does not take act %s: %s", act.payload_sha256, error)
    return taken


def _raises(paper: Envelope, order: Envelope) -> bool:
    if paper.payload_type != Act.PAYLOAD_TYPE:
        return False
    try:
        act = read(paper, Act)
    except StatementError:
        return False
    return act.kind == "raise-allowance" and act.order_sha256 == order.payload_sha256
