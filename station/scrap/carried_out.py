"""A scrap that is done from this station: on record before and after, and this station's signer told of it.

The registry burns the id, by an approved act; what has it do so is given here. Never says that the signer knows what it
was not told: then the next batch tells it, or the same command again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from hsm.signer import Signer
from station.exits import Exit
from station.faults import Fault, fault
from station.jobs.stamp import Stamp
from station.leaves import LEAF_ERRORS, classify
from station.scrap.told import Papers, Registry, carry_scrap
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.root import TrustedRoot

BEGAN, ENDED = "scrap-began", "scrap-ended"
"""Kinds of event that tell of a scrap, with the device's id and no job: it may have been made elsewhere."""
_TOLD = Literal["told", "not-its-order", "not-told"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapBench:
    """One approved act, and everything to do it with."""

    device: DeviceId
    act: Envelope
    root: TrustedRoot
    registry: Registry
    signer: Signer
    ledger: Papers
    stamp: Stamp

    async def note(self, kind: str, **details: str) -> None:
        """Put on record what happens to the device by this act."""
        plain = self.stamp.event(kind, details={"act_sha256": self.act.payload_sha256, **details})
        try:
            await self.ledger.note(msgspec.structs.replace(plain, device_id=str(self.device)))
        except LEAF_ERRORS as error:
            raise classify(error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrapped:
    """It is scrapped: under which order it was pinned, whether it was before, and what this station's signer knows."""

    order_id: str
    before: bool
    signer: _TOLD
    why: str = ""
    exit_code: Exit = Exit.PASSED


async def put_through(bench: ScrapBench, burn: Callable[[], Awaitable[tuple[str, bool]]]) -> Scrapped:
    """Have it burned, and the signer told. Faults; one after the burning says that it is burned."""
    await bench.note(BEGAN, act=bench.act.to_json().decode())
    order_id, before = await burn()
    # A crash here: burned, and not known here; the same command again finds it so, the next batch tells the signer.
    try:
        done = await _told(bench, order_id, before=before)
    except Fault as found:
        await bench.note(ENDED, order_id=order_id, signer="not-told", code=found.code)
        text = f"device {bench.device} is scrapped at the registry, and this station's signer was not told"
        raise fault(found.code, f"{text}: {found.detail}") from found
    await bench.note(ENDED, order_id=order_id, signer=done.signer)
    return done


async def _told(bench: ScrapBench, order_id: str, *, before: bool) -> Scrapped:
    try:
        orders = (await bench.signer.status()).orders
    except LEAF_ERRORS as error:
        raise classify(error) from error
    carried = await carry_scrap(orders, bench.signer, bench.registry, bench.root, bench.ledger, stamp=bench.stamp)
    told: _TOLD = "told" if any(each.order_id == order_id for each in orders) else "not-its-order"
    why, code = "", Exit.PASSED
    if carried.away:
        told, why, code = "not-told", carried.away, Exit.HELD
    for each in carried.not_taken:
        if each.startswith(str(bench.device)):
            told, why, code = "not-told", each, Exit.LINE_STOPPED
    return Scrapped(order_id=order_id, before=before, signer=told, why=why, exit_code=code)
