"""`station ledger`: the provisioning log, read by people and auditors."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.options import CONFIG
from station.cli.output import data, note
from station.exits import Exit

if TYPE_CHECKING:
    from station.order_report import OrderReport
    from trust.merkle import Frontier

_JSONL = click.option("--jsonl", is_flag=True, help="One JSON object a line.")
_COLUMNS = ("units", "passed", "active", "held", "quarantined", "lost", "in work")


@click.group()
def ledger() -> None:
    """The provisioning log."""


@ledger.command()
@CONFIG
@_JSONL
def verify(config_file: Path, jsonl: bool) -> None:
    """Recompute the whole log from row 1 and check every signature; exits 8 and names the first bad row otherwise."""
    from station import wiring  # noqa: PLC0415 - keeps --help fast

    found = wiring.audit_ledger(config_file)
    for finding in found.findings:
        data(_json(finding) if jsonl else f"BAD  {finding}")
    if found.findings:
        note("the ledger was touched or damaged: keep a copy of the file, do not use it, call the security officer")
        sys.exit(Exit.AUDIT_FAILED)
    if jsonl:
        counts = {name: getattr(found, name) for name in ("leaves", "covered", "jobs", "pinned", "passed")}
        data(_json({**counts, "root_hash": found.root_hash.hex()}))
    else:
        later = f" ({found.leaves - found.covered} not covered yet)" if found.leaves > found.covered else ""
        data(f"ledger verifies: {found.leaves} leaves, checkpoint over {found.covered}{later}, root hash")
        data(f"     {found.root_hash.hex()}")
        data(f"jobs: {found.jobs}, {found.pinned} pinned, {found.passed} passed")


@ledger.command()
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
    width = max(len(name) for name in ("order", *(order.order for order in orders)))
    data("  ".join([f"{'order':<{width}}", *_COLUMNS]))
    for order in orders:
        counts = (order.units, order.passed, order.active, order.held, order.quarantined, order.lost, order.in_work)
        cells = (f"{count:>{len(name)}}" for count, name in zip(counts, _COLUMNS, strict=True))
        data("  ".join([f"{order.order:<{width}}", *cells]))
    for order in orders:
        for device in order.finish_me:
            data(f"finish me  {device}  order {order.order}")
    data(f"log: {tip.size} leaves, root hash")
    data(f"     {tip.root.hex()}")


async def _read(config_file: Path) -> tuple[tuple[OrderReport, ...], Frontier]:
    from station import wiring  # noqa: PLC0415
    from station.order_report import order_reports  # noqa: PLC0415

    async with wiring.reading_ledger(config_file) as store:
        return await order_reports(store), await store.tip()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
