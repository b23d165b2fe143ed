"""Signer, ledger, registry, root and order agree before a unit is taken, and are held against each other when one ends.

Builds nobody: `station.wiring` does. Never decides about a unit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from hsm.signer import Signer, SignerForbiddenError, SignerStatus
from ledger.publish import PublishError
from station import config as settings
from station.allotment import acts_of
from station.cloud import Cloud, CloudUnreachableError
from station.faults import Fault, fault
from station.jobs import LedgerError
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.leasing import is_low, renew
from station.leaves import LEAF_ERRORS, classify
from station.root import difference
from trust.account import Balance, OrderCount
from trust.dsse import Envelope
from trust.order import WorkOrder
from trust.root import RootError, Seen, TrustedRoot, must_follow
from trust.signed_note import NoteKey
from trust.statement import StatementError, read, verify

_LOG = logging.getLogger(__name__)
_ROOT = "root-taken-up"
_HOUR_S = 3600.0


class Place(Protocol):
    """Whose station this is: settings, paths and trust root."""

    @property
    def config(self) -> settings.Config:
        """The settings."""

    @property
    def paths(self) -> settings.Paths:
        """Their paths, resolved."""

    @property
    def root(self) -> TrustedRoot:
        """The trust root."""


async def known_signer(place: Place, signer: Signer) -> SignerStatus:
    """What the signer says of itself; it is the root's."""
    try:
        status = await signer.status()
    except SignerForbiddenError as error:
        raise fault("setup", str(error)) from error
    except LEAF_ERRORS as error:
        raise classify(error) from error
    check_signer(place.config, place.root, status)
    return status


async def require_same_order(store: JobStore, order: Envelope) -> WorkOrder:
    """The fault `order-refuses` if the ledger knows the order's id with other bytes, as the signer would say."""
    work = read(order, WorkOrder)
    try:
        there = await store.order(work.order_id)
    except LedgerError as error:
        raise classify(error) from error
    if there is not None and not there.same_statement(order):
        raise fault("order-refuses", f"{work.order_id} is known here with other bytes: give this one an id of its own")
    return work


async def admitted_order(order: Envelope, signer: Signer, store: JobStore) -> None:
    """The signer knows the order; the order is in the log."""
    try:
        await signer.import_order(order)
        await store.keep_order(order)
    except LEAF_ERRORS as error:
        raise classify(error) from error


def check_signer(config: settings.Config, root: TrustedRoot, status: SignerStatus) -> None:
    """It has no trouble with its token, and environment, root and every key are those of the trust root."""
    if status.trouble:
        raise fault("signer-down", status.trouble)
    name = config.station.name
    keys = root.root.station(name)
    wanted = (name, config.station.environment, root.sha256)
    if (status.name, status.environment, status.root_sha256) != wanted:
        older = difference("signer", status.root_version, status.root_sha256, root)
        raise fault(
            "setup",
            f"the signer serves {status.name}/{status.environment} under root {status.root_sha256},\n"
            f"this is {name}/{config.station.environment} under root {root.sha256}" + (f";\n{older}" if older else ""),
        )
    differing = [purpose for purpose in keys.__struct_fields__ if status.keys.get(purpose) != getattr(keys, purpose)]
    if differing:
        raise fault("setup", f"the signer's keys are not the trust root's: {', '.join(differing)}")


async def publish(root: TrustedRoot, signer: Signer, store: JobStore) -> None:
    """The signer's balance goes into the log, and then the log's head is signed, whatever the balance shows."""
    try:
        await hold_balance(signer, store, root)
    finally:
        await _publish(root, signer, store)


async def _publish(root: TrustedRoot, signer: Signer, store: JobStore) -> None:
    try:
        await store.publish(log_key(root, store.station), signer.sign_checkpoint)
    except (*LEAF_ERRORS, PublishError) as error:
        raise classify(error) from error


def log_key(root: TrustedRoot, station: str) -> NoteKey:
    """The station's log key by its origin."""
    return NoteKey(root.root.log_origin(station), root.root.station(station).log)


async def take_up_root(store: JobStore, root: TrustedRoot, stamp: Stamp) -> None:
    """A newer trust root goes on record; the fault `setup` for one that is older than what is on record, or another."""
    try:
        if await require_known_root(store, root):
            details = {"version": str(root.root.version), "sha256": root.sha256}
            await store.note(stamp.event(_ROOT, details=details))
    except LedgerError as error:
        raise classify(error) from error


async def require_known_root(store: JobStore, root: TrustedRoot) -> bool:
    """Whether the root is newer than what is on record; the fault `setup` if it is older, or another. LedgerError."""
    last = await store.last_event(_ROOT)
    seen = None if last is None else Seen(int(last.details["version"]), last.details["sha256"])
    try:
        return must_follow(root, seen)
    except RootError as error:
        older = None if seen is None else difference("ledger", seen.version, seen.sha256, root)
        raise fault("setup", f"{error}" + (f";\n{older}" if older else "")) from error


async def keep_leased(status: SignerStatus, signer: Signer, cloud: Cloud, root: TrustedRoot, store: JobStore) -> None:
    """A fresh lease while the registry answers, if half of the old one is used; else the old one must do."""
    if not is_low(status, root, datetime.now(UTC)):
        return
    try:
        await renew(signer, cloud, root, store)
    except CloudUnreachableError as error:
        _LOG.warning("the signer's lease was not renewed: %s", error)
    except LEAF_ERRORS as error:
        raise classify(error) from error


async def hold_balance(signer: Signer, store: JobStore, root: TrustedRoot) -> Balance:
    """The signer's books go on record, and are held against the ledger's; the fault `signer-surplus`."""
    before = await pins_on_record(store)
    try:
        answer = await signer.balance()
        balance = verify(answer, Balance, root.root.account_key(store.station))
        await store.keep_paper(answer)
    except (StatementError, RootError) as error:
        raise fault("signer-wrong", f"its balance: {error}") from error
    except LEAF_ERRORS as error:
        raise classify(error) from error
    signed = sum(each.payloads + each.resigned for each in balance.signatures.values())
    if balance.by_token is not None and balance.by_token > signed + balance.accepted:
        raise fault("signer-surplus", f"the token has made {balance.by_token} signatures, its signer knows of {signed}")
    await require_no_surplus(balance.orders, store, before)
    return balance


async def hold_hourly(signer: Signer, store: JobStore, root: TrustedRoot, stop: Callable[[Fault], None]) -> None:
    """`hold_balance` every hour, until it finds something, which stops the line."""
    while True:
        await asyncio.sleep(_HOUR_S)
        try:
            await hold_balance(signer, store, root)
        except Fault as error:
            stop(error)
            return


async def pins_on_record(store: JobStore) -> Mapping[str, int]:
    """Pin statements of this station by order: what a signer that is asked from now on must know of at the least."""
    try:
        return {order_id: (await store.pin_count(order_id)).on_record for order_id in await store.orders()}
    except LedgerError as error:
        raise classify(error) from error


async def require_no_surplus(orders: Sequence[OrderCount], store: JobStore, before: Mapping[str, int]) -> None:
    """The signer has signed nothing that nobody here has asked for; the fault `signer-surplus`.

    `before` is what was on record when the signer was asked: units go on meanwhile. A statement whose signature never
    reached the ledger still has its intent there: that is no surplus.
    """
    try:
        for count in orders:
            least, most = before.get(count.order_id, 0), await store.pin_count(count.order_id)
            accepted = sum(act.units for act in await acts_of(store, count.order_id, "accept-surplus"))
            if count.pins < least:
                text = (
                    f"order {count.order_id}: the signer has made {count.pins} pin statements, the ledger has {least}"
                )
                raise fault("ledger-differs", f"{text}: the signer's counters are an old copy")
            if count.pins > most.on_record + most.unanswered + accepted:
                text = f"order {count.order_id}: the signer has made {count.pins} pin statements"
                rest = f"the ledger has {most.on_record} and {most.unanswered} that may be among them"
                raise fault("signer-surplus", f"{text}, {rest}")
    except LedgerError as error:
        raise classify(error) from error
