"""Scrap carried from the registry to this station's signer: nothing more is signed for those units.

Each revocation is verified, put on record and only then given to the signer, which frees the unit's place. A registry
that is away stops no line: what it would have told is told before the next batch. Nor does a revocation that the signer
does not take: the registry refuses such a unit anyway. Never scraps anything itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from hsm.signer import Signer, SignerError
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.faults import fault
from station.jobs.counts import Tally
from station.jobs.stamp import Stamp
from station.leaves import LEAF_ERRORS, classify
from trust.account import OrderCount
from trust.codes import Code
from trust.dsse import Envelope
from trust.revocation import Revocation, revoked
from trust.root import TrustedRoot
from trust.statement import Event, StatementError

_LOG = logging.getLogger(__name__)
FIRST = "first"
TOLD = "scrap-told"
"""Kind of event: this station's signer knows that the device is scrapped."""
_OF_THE_REVOCATION = frozenset({Code.STATEMENT_INVALID, Code.ORDER_UNKNOWN})
"""What a signer answers about one revocation; everything else is about itself."""


class Registry(Protocol):
    """The registry, as far as it tells of scrap."""

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        """A page of revocations under an order, and the name of the next one, if any."""


class Papers(Protocol):
    """The ledger, as far as scrap is carried."""

    async def keep_paper(self, paper: Envelope) -> None:
        """As a leaf; the same again changes nothing."""

    async def note(self, event: Event) -> None:
        """Append an event."""

    async def devices_told_of(self, kind: str) -> frozenset[str]:
        """The devices that an event of this kind, of no order, is about."""

    async def scrapped_tally(self, order_id: str) -> Tally:
        """How far the order's jobs had got whose device is scrapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What the signer did not hear: `away`, why not all was asked for; `not_taken`, devices and why it refused each."""

    away: str = ""
    not_taken: tuple[str, ...] = ()


async def carry_scrap(
    orders: Iterable[OrderCount], signer: Signer, cloud: Registry, root: TrustedRoot, papers: Papers, *, stamp: Stamp
) -> Carried:
    """Tell the signer what was scrapped under its orders; faults as everywhere, none for a registry that is away.

    What it was told before is on record, and not told again, unless it says that it has counted fewer finished units
    out than the ledger. One revocation that does not hold, or that the signer does not take, keeps no other from it;
    the first of those that do not hold is the fault `registry-wrong` at the end.
    """
    if root.root.revocation_key is None:
        return Carried()
    courier, away = _Courier(signer, cloud, root, papers, stamp), ""
    try:
        for order in orders:
            await courier.carry(order)
    except CloudUnreachableError as error:  # the flow says so itself, of each unit that it holds
        _LOG.info("scrap was not asked for: %s", error)
        away = str(error)
    except LEAF_ERRORS as error:
        raise classify(error) from error
    if courier.wrong:
        raise fault("registry-wrong", f"a revocation: {courier.wrong[0]}") from courier.wrong[0]
    return Carried(away=away, not_taken=tuple(courier.not_taken))


class _Courier:
    def __init__(self, signer: Signer, cloud: Registry, root: TrustedRoot, papers: Papers, stamp: Stamp) -> None:
        self._signer, self._cloud, self._root, self._papers, self._stamp = signer, cloud, root, papers, stamp
        self.wrong: list[StatementError] = []
        self.not_taken: list[str] = []

    async def carry(self, order: OrderCount) -> None:
        # A signer that was put back from a copy has forgotten: it counts fewer than the ledger, and is told all again.
        forgot = order.scrapped < (await self._papers.scrapped_tally(order.order_id)).passed
        told = await self._papers.devices_told_of(TOLD)
        page: str | None = FIRST
        seen = set[str]()
        while page is not None:
            if page in seen:
                raise fault("registry-wrong", f"revocations under order {order.order_id}: page {page[:16]} comes again")
            seen.add(page)
            try:
                found, page = await self._cloud.scrapped(order.order_sha256, page)
            except CloudRefusedError as error:
                if error.code is Code.ORDER_UNKNOWN:  # nothing was pinned under it yet
                    return
                raise
            for each in found:
                await self._tell(each, told, again=forgot)

    async def _tell(self, revocation: Envelope, told: frozenset[str], *, again: bool) -> None:
        try:
            device = scrap_of(self._root, revocation).device_id
        except StatementError as error:
            self.wrong.append(error)
            return
        if device in told and not again:
            return
        await self._papers.keep_paper(revocation)
        # A crash here: on record, and not known to the signer, who gets it again before the next batch.
        try:
            await self._signer.import_revocation(revocation)
        except SignerError as error:
            if error.code not in _OF_THE_REVOCATION:
                raise
            _LOG.error("device %s is scrapped, and the signer does not take that: %s", device, error)
            self.not_taken.append(f"{device}: {error}")
            return
        if device in told:
            return
        # A crash here: it knows, and is told once more.
        plain = self._stamp.event(TOLD, details={"revocation_sha256": revocation.payload_sha256})
        await self._papers.note(msgspec.structs.replace(plain, device_id=device))


def scrap_of(root: TrustedRoot, envelope: Envelope) -> Revocation:
    """The registry's word that a device is scrapped; StatementError."""
    said = revoked(root, envelope)
    if said.cause != "scrapped":
        raise StatementError(f"device {said.device_id}: its key was revoked, it is not scrapped")
    return said
