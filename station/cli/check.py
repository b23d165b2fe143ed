"""`station check`: before the shift."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from station.cli.called import Here
from station.cli.options import CONFIG, SLOTS, SLOTS_FILE
from station.cli.output import data
from station.exits import Exit


@click.command()
@CONFIG
@click.option("--order", "order_file", type=click.Path(path_type=Path), help="Check this order, too.")
@SLOTS_FILE
@SLOTS
@click.option("--jsonl", is_flag=True, help="One JSON object a finding.")
def check(
    config_file: Path, order_file: Path | None, slots_file: Path | None, slots: tuple[str, ...], jsonl: bool
) -> None:
    """Look at ports, presence, signer, registry, proxy, ledger, disk, clock, root and order; exits 2 if one is bad.

    \b
    ok   as it must be
    BAD  not as it must be, with what to do
    n/a  a slot whose unit is not for this order, where others are

    Exit codes: 0 nothing is BAD · 2 something is, or usage · 130 interrupted.
    """
    from station.readiness import Readiness  # noqa: PLC0415 - keeps --help fast

    findings = asyncio.run(Readiness(config_file, order_file, slots_file=slots_file, slots=slots).all())
    here = Here(config_file)
    width = max(len(each.subject) for each in findings)
    for each in findings:
        if jsonl:
            said = {"subject": each.subject, "good": each.good, "word": each.word, "text": each.text}
            data(msgspec.json.encode(said).decode())
        else:
            data(f"{each.word:<3}  {each.subject:<{width}}  {here.typeable(each.text)}")
    if not all(each.good for each in findings):
        sys.exit(Exit.USAGE)
