"""`station ledger`: the provisioning log, read by people and auditors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.met import handshakes
from station.cli.options import CONFIG
from station.cli.output import data, note
from station.exits import Exit
from station.usage import UsageError
from trust.printable import counted

if TYPE_CHECKING:
    from station.auditing import Audited
    from station.order_report import OrderReport
    from trust.merkle import Frontier

_JSONL = click.option("--jsonl", is_flag=True, help="One JSON object a line.")
_COLUMNS = ("total", "passed", "active", "held", "quarantined", "lost", "in work", "unused")

_COUNTED = ("leaves", "covered", "jobs", "pinned", "passed", "emulated", "proved", "waived", "not_asked")

_ORDER_WIDTH = 15  # what 80 columns leave beside the counts


@click.group()
def ledger() -> None:
    """The provisioning log."""


@ledger.command(short_help="Recompute the whole log and check every signature.")
@CONFIG
@click.option(
    "--checkpoint", type=click.Path(path_type=Path), help="A checkpoint kept elsewhere that the log must go on from."
)
@_JSONL
def verify(config_file: Path, checkpoint: Path | None, jsonl: bool) -> None:
    """Recompute the whole log from row 1 and check every signature; exits 8 and names the first bad row otherwise.

    The log must also go on from the last head that the signer has signed, if it answers, and from --checkpoint FILE.
    """
    from station.auditing import audit_ledger  # noqa: PLC0415 - keeps --help fast

    done = asyncio.run(audit_ledger(config_file, checkpoint))
    if done.not_asked:
        note(f"not compared with the signer: {done.not_asked}")
    for finding in done.report.findings:
        data(_json(finding) if jsonl else f"BAD  {finding}")
    if done.report.findings:
        note(_what_next(done))
        sys.exit(Exit.AUDIT_FAILED)
    for line in [_counts(done)] if jsonl else _verified(done):
        data(line)


def _what_next(done: Audited) -> str:
    touched = "the ledger was touched or damaged: keep a copy of the file, do not use it, call the security officer"
    if not done.report.interrupted:
        return touched
    if done.signer is None:
        return "a batch whose signer ended leaves this, a removed checkpoint too: start the signer, verify again"
    return f"the signer has signed it, and the end of a batch asks for it again: run one. If it stays, {touched}"


def _counts(done: Audited) -> str:
    """For scripts: null where there was nothing to compare with."""
    report = done.report
    counts = {name: getattr(report, name) for name in _COUNTED}
    compared = {"signer": done.signer, "checkpoint": done.checkpoint}
    return _json({**counts, "root_hash": report.root_hash.hex(), **compared})


def _verified(done: Audited) -> Iterator[str]:
    report = done.report
    later = f" ({report.leaves - report.covered} not covered yet)" if report.leaves > report.covered else ""
    yield f"ledger verifies: {_leaves(report.leaves)}, checkpoint over {report.covered}{later}, root hash"
    yield f"     {report.root_hash.hex()}"
    emulated = f"; {report.emulated} of the units are emulated" if report.emulated else ""
    yield f"jobs: {report.jobs}, {report.pinned} pinned, {report.passed} passed{emulated}"
    if met := handshakes(proved=report.proved, waived=report.waived, not_asked=report.not_asked):
        yield met
    if done.signer is not None:
        yield f"goes on from the signer's last head, over {_leaves(done.signer)}"
    if done.checkpoint is not None:
        yield f"goes on from the checkpoint given, over {_leaves(done.checkpoint)}"


@ledger.command(short_help="The newest checkpoint, to be kept elsewhere.")
@CONFIG
def checkpoint(config_file: Path) -> None:
    """The newest checkpoint, a signed note, as it is: keep it elsewhere, and verify with it later."""
    note_text = asyncio.run(_checkpoint(config_file))
    if note_text is None:
        raise UsageError("there is no checkpoint yet: the end of a batch makes one")
    for line in note_text.removesuffix("\n").split("\n"):
        data(line)


@ledger.command(short_help="How far the units of each order got.")
@CONFIG
@_JSONL
def report(config_file: Path, jsonl: bool) -> None:
    """How far the units of each order got, and which of them wait to be finished."""
    orders, tip = asyncio.run(_read(config_file))
    if jsonl:
        for order in orders:
            data(_json(order))
        data(_json({"leaves": tip.size, "root_hash": tip.root.hex()}))
        return
    width = max(len(name) for name in ("order", *(order.order for order in orders)) if len(name) <= _ORDER_WIDTH)
    data("  ".join([f"{'order':<{width}}", *_COLUMNS]))
    for order in orders:
        for line in _row(order, width):
            data(line)
    for order in orders:
        for line in _besides(order):
            data(line)
    data(f"log: {_leaves(tip.size)}, root hash")
    data(f"     {tip.root.hex()}")


def _row(order: OrderReport, width: int) -> Iterator[str]:
    """An order's counts; an id that has no room beside them within 80 columns stands above them, in full."""
    counts = (
        order.quantity + order.allowance, order.passed, order.active, order.held, order.quarantined, order.lost,
        order.in_work, order.unused,
    )  # fmt: skip
    beside = order.order if len(order.order) <= width else ""
    if not beside:
        yield order.order
    yield "  ".join([f"{beside:<{width}}", *(f"{n:>{len(name)}}" for n, name in zip(counts, _COLUMNS, strict=True))])


def _besides(order: OrderReport) -> Iterator[str]:
    """What the table has no column for."""
    signed_for = order.quantity + order.allowance - order.unused
    if order.emulated:
        which = "all" if order.emulated == signed_for else str(order.emulated)
        yield f"order {order.order}: {_units(signed_for)} signed for, {which} emulated"
    yield from _met(order)
    for device in order.finish_me:
        yield f"finish me  {device}  order {order.order}"
    for device in order.to_quarantine:
        yield f"quarantine {device}  order {order.order}: held, and refused by the registry for good"
    if order.not_taken:
        units = _units(order.not_taken)
        yield f"order {order.order}: the registry refused the completions of {units}, call the line engineer"
    if order.before_signing:
        yield f"order {order.order}: {_units(order.before_signing)} not signed for: waiting, or ended before"
    if order.scrapped:
        yield f"order {order.order}: {_units(order.scrapped)} scrapped"
    if order.reworked:
        yield f"order {order.order}: {_units(order.reworked)} reworked here"
    if order.turned_away:
        yield f"order {order.order}: {_units(order.turned_away)} turned away before a job was begun"


def _met(order: OrderReport) -> Iterator[str]:
    """What became of the live handshakes, and who has passed without one."""
    if met := handshakes(proved=order.proved, waived=len(order.waived), not_asked=order.not_asked):
        yield f"order {order.order}: {met}"
    for device, waiver in order.waived.items():
        yield f"waived     {device}  order {order.order}: passed without a live handshake ({waiver})"


def _leaves(count: int) -> str:
    return counted(count, "leaf", "leaves")


def _units(count: int) -> str:
    return "1 unit" if count == 1 else f"{count} units"


async def _read(config_file: Path) -> tuple[tuple[OrderReport, ...], Frontier]:
    from station import wiring  # noqa: PLC0415
    from station.order_report import order_reports  # noqa: PLC0415

    async with wiring.reading_ledger(config_file) as store:
        return await order_reports(store), await store.tip()


async def _checkpoint(config_file: Path) -> str | None:
    from station import wiring  # noqa: PLC0415

    async with wiring.reading_ledger(config_file) as store:
        return await store.checkpoint()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
