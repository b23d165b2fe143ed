"""Scrap carried from the registry to this station's signer: nothing more is signed for those units.

Each revocation is verified, put on record and only then given to the signer, which frees the unit's place. A registry
that is away stops no line: what it would have told is told before the next batch. Never scraps anything itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from hsm.signer import Signer
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import fault
from station.leaves import LEAF_ERRORS, classify
from trust.account import OrderCount
from trust.codes import Code
from trust.dsse import Envelope
from trust.revocation import revoked
from trust.root import TrustedRoot
from trust.statement import StatementError

_LOG = logging.getLogger(__name__)
FIRST = "first"
_MOST_PAGES = 1000


class Registry(Protocol):
    """The registry, as far as it tells of scrap."""

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        """A page of revocations under an order, and the name of the next one, if any."""


class Papers(Protocol):
    """Where papers are put on record."""

    async def keep_paper(self, paper: Envelope) -> None:
        """As a leaf; the same again changes nothing."""


async def carry_scrap(
    orders: Iterable[OrderCount], signer: Signer, cloud: Registry, root: TrustedRoot, papers: Papers
) -> None:
    """Tell the signer what was scrapped under its orders; faults as everywhere, none for a registry that is away."""
    if root.root.revocation_key is None:
        return
    try:
        for order in orders:
            await _carry(order.order_sha256, signer, cloud, root, papers)
    except CloudUnreachableError as error:  # the flow says so itself, of each unit that it holds
        _LOG.info("scrap was not asked for: %s", error)
    except StatementError as error:
        raise fault("registry-wrong", f"a revocation: {error}") from error
    except LEAF_ERRORS as error:
        raise classify(error) from error


async def _carry(order_sha256: str, signer: Signer, cloud: Registry, root: TrustedRoot, papers: Papers) -> None:
    page: str | None = FIRST
    for _ in range(_MOST_PAGES):
        if page is None:
            return
        try:
            found, page = await cloud.scrapped(order_sha256, page)
        except CloudRefusedError as error:
            if error.code is Code.ORDER_UNKNOWN:  # nothing was pinned under it yet
                return
            raise
        for each in found:
            revoked(root, each)
            await papers.keep_paper(each)
            # A crash here: on record, and not known to the signer, who gets it again before the next batch.
            await signer.import_revocation(each)
