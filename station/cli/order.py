"""`station order` and `station act`: what people approved elsewhere, brought to the signer."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.called import Here
from station.cli.met import handshakes
from station.cli.options import CONFIG
from station.cli.output import data, is_asked, note
from station.usage import UsageError
from trust.printable import counted, printable

if TYPE_CHECKING:
    from station.release import UnitRelease, Witness
    from trust.account import AllotmentReturn, OrderCount
    from trust.minutes import Minutes
    from trust.order import WorkOrder

_WITNESS = "witness: always pending, as none is built"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def order() -> None:
    """Work orders at the signer, which is the factory's only store of them."""


@order.command("import", short_help="Make an approved order known to the signer.")
@click.argument("file", type=_FILE)
@CONFIG
def import_(file: Path, config_file: Path) -> None:
    """Make an approved order known to the signer; `station run --order` does the same."""
    work = asyncio.run(_import(config_file, file))
    data(f"{work.order_id}: {work.quantity} + {work.allowance} of {work.product} known to the signer")


@order.command(short_help="What the signer has counted under its orders.")
@CONFIG
@click.option("--jsonl", is_flag=True, help="One JSON object an order.")
def show(config_file: Path, jsonl: bool) -> None:
    """What the signer has counted under its orders: pin statements and completions, with their limits."""
    orders = asyncio.run(_show(config_file))
    if not orders and not jsonl:
        note("the signer knows no order yet: station order import FILE, or station run --order FILE")
    for each in orders:
        if jsonl:
            data(msgspec.json.encode(each).decode())
            continue
        state = ", rest returned" if each.returned else ""
        data(
            f"{each.order_id:<24} signed for {each.pins} of {each.pin_limit}, "
            f"completed {each.completions} of {each.completion_limit}, scrapped {each.scrapped}{state}"
        )


@order.command(short_help="Give back what this station has not used of an order.")
@click.argument("order_id")
@CONFIG
@click.option("--yes", is_flag=True, help="Do not ask again; for scripts whose author knows that it is for good.")
def close(order_id: str, config_file: Path, *, yes: bool) -> None:
    """Give back what this station has not used of an order; units that are signed for may still be finished.

    For good: what was given back is made elsewhere, and only under a new order. ORDER_ID as station order show has it.
    """
    known = {each.order_id: each for each in asyncio.run(_show(config_file))}
    if order_id not in known:
        raise UsageError(f"the signer knows no order {printable(order_id)!r}: station order show lists them")
    if not yes and not known[order_id].returned:
        _ask_for_good(known[order_id])
    returned = asyncio.run(_close(config_file, order_id))
    data(f"{order_id}: returned {returned.quantity} units and {returned.allowance} of the allowance")
    note("the signer's statement of it is in the ledger; a new order may allot the rest to another station")


def _ask_for_good(order: OrderCount) -> None:
    left = max(0, order.pin_limit - order.pins)
    note(f"{order.order_id}: signed for {order.pins} of {order.pin_limit}; room for {left} more devices goes, for good")
    if not is_asked() or not click.confirm("Give it back?", err=True):
        raise UsageError("nothing was given back; a script says --yes")


@order.command("release", short_help="Which units of an order may ship, and why the rest may not.")
@click.argument("order_id")
@CONFIG
@click.option(
    "--witness",
    type=click.Choice(["required"]),
    help="Be stricter than the settings' release.witness: nothing ships that no witness has seen, and none is built.",
)
@click.option("--jsonl", is_flag=True, help="One JSON object a unit.")
def release_(order_id: str, config_file: Path, witness: Witness | None, *, jsonl: bool) -> None:
    """Which units of an order may ship, and why the rest may not.

    A unit ships if ledger and registry both say that it passed, with this very completion and the key that it has
    now, is active, and no rework has left it open or half done. Whether a witness must have seen it say the settings.
    Ends with 0 if all units that were signed for may ship, 3 if one belongs into quarantine, 7 if one waits for the
    registry or a witness, 1 if one has not passed.
    """
    units = asyncio.run(_release(config_file, order_id, witness))
    if units is None:
        raise UsageError(f"the ledger has no order {printable(order_id)!r}: station ledger report lists them")
    here = Here(config_file)
    for unit in units:
        if jsonl:
            data(msgspec.json.encode(unit).decode())
            continue
        unmet = ", handshake WAIVED" if unit.handshake == "waived" else ""
        if unit.ships:
            data(f"ships   {unit.device_id}  active{unmet}, witness {unit.witness}")
        else:
            data(f"stays   {unit.device_id}  {unit.reason}{unmet}: {here.typeable(unit.text)}")
    shipping = [unit for unit in units if unit.ships]
    may = f"{len(shipping)} of {counted(len(units), 'unit')} signed for may ship{_met(shipping)}"
    note(f"{order_id}: {may}; {_WITNESS}")
    sys.exit(_exit_of(units))


def _met(units: Sequence[UnitRelease]) -> str:
    counts = Counter(unit.handshake for unit in units)
    said = handshakes(proved=counts["proved"], waived=counts["waived"], not_asked=counts["not-asked"])
    return f" ({said})" if said else ""


@click.command()
@click.argument("file", type=_FILE)
@CONFIG
def act(file: Path, config_file: Path) -> None:
    """Have the signer do what two officers approved (station-signer act); it goes on record. Once, however often."""
    done, before, useless = asyncio.run(_act(config_file, file))
    data(f"{'done before' if before else 'done'}, and on record: act {done}")
    if useless:
        note(useless)


@click.command()
@click.argument("file", type=_FILE)
@CONFIG
def minutes(file: Path, config_file: Path) -> None:
    """Put the approved minutes of a ceremony, or of a key's end, on record.

    Without an answer of the signer they are kept, and the next checkpoint covers them: a signer whose key was destroyed
    answers no more.
    """
    kept, uncovered = asyncio.run(_minutes(config_file, file))
    data(f"on record: {kept.subject} of signer {kept.signer}, approved by {', '.join(kept.officers)}")
    if uncovered:
        note(f"no checkpoint covers them yet: {uncovered}")
        note("the next one does: of a batch's end, or of this very command when the signer answers")


async def _release(config_file: Path, order_id: str, witness: Witness | None) -> tuple[UnitRelease, ...] | None:
    from station import config, wiring  # noqa: PLC0415 - keeps --help fast
    from station.release import release  # noqa: PLC0415

    policy = config.load(config_file)[0].release.witness
    async with wiring.reader(config_file) as reader:
        return await release(reader, order_id, witness or policy)


def _exit_of(units: tuple[UnitRelease, ...]) -> int:
    from station.release import exit_of  # noqa: PLC0415 - keeps --help fast

    return exit_of(units)


async def _minutes(config_file: Path, file: Path) -> tuple[Minutes, str]:
    from station import minuting  # noqa: PLC0415 - keeps --help fast

    return await minuting.keep_minutes(config_file, file)


async def _import(config_file: Path, file: Path) -> WorkOrder:
    from station import ordering, wiring  # noqa: PLC0415 - keeps --help fast

    async with wiring.open_desk(config_file) as desk:
        return await ordering.import_order(desk, file)


async def _show(config_file: Path) -> tuple[OrderCount, ...]:
    from station import wiring  # noqa: PLC0415 - keeps --help fast

    async with wiring.asking_signer(config_file) as status:
        return status.orders


async def _close(config_file: Path, order_id: str) -> AllotmentReturn:
    from station import ordering, wiring  # noqa: PLC0415 - keeps --help fast

    async with wiring.open_desk(config_file) as desk:
        return await ordering.close_order(desk, order_id)


async def _act(config_file: Path, file: Path) -> tuple[str, bool, str]:
    from station import ordering, wiring  # noqa: PLC0415 - keeps --help fast

    async with wiring.open_desk(config_file) as desk:
        done, before = await ordering.perform_act(desk, file)
        return done.payload_sha256, before, await ordering.of_no_use(desk, done)
