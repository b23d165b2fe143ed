"""`station device rework` and `station device scrap`: what two people approved for one device, done from here."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from station.cli.asking import sign_in, typed
from station.cli.called import Here
from station.cli.options import CONFIG, SLOTS_FILE
from station.cli.output import data, is_asked, note
from station.usage import UsageError

if TYPE_CHECKING:
    from station.cloud.devices import ApproverCode
    from station.events import ReworkEvent, ReworkFinished
    from station.rework.acts import Asked
    from station.scrap.carried_out import Scrapped
    from station.scrap.proposal import Proposed
    from trust.identity import DeviceId

_FILE = click.Path(dir_okay=False, path_type=Path)
_WORDS = {
    "met": "the unit is there", "asked": "the registry is asked", "key-made": "a new key, beside the old one",
    "pinned": "the new key is pinned", "committed": "the new key is in use", "anchored": "the new anchor is in flash",
    "unlocked": "the unit is open", "verified": "the same after a power cycle", "old-key-ended": "the old key",
}  # fmt: skip

_KNOWS = {
    "told": "this station's signer is told: it signs nothing more for this device",
    "not-its-order": "its order is none of this station's signer's: whoever works under it tells their signer",
    "not-told": "this station's signer was NOT told: {why}; when that is mended, begin a batch or repeat this",
}


@click.command(short_help="Give a finished unit another key or anchor, or open it.")
@click.argument("device_id")
@click.option("--act", "act_file", type=_FILE, required=True, help="The approved act (station-signer device new).")
@click.option("--slot", help="Name of the unit's slot; without it all are looked at.")
@click.option("--order", "order_file", type=_FILE, help="For a new anchor: the order that has its keys and address.")
@CONFIG
@SLOTS_FILE
@click.option("--jsonl", is_flag=True, help="One JSON object a step and one at the end.")
def rework(
    device_id: str, act_file: Path, slot: str | None, order_file: Path | None, config_file: Path,
    slots_file: Path | None, *, jsonl: bool,
) -> None:  # fmt: skip
    """Give a finished, locked unit another key or anchor, or open it, as an approved act wants.

    Cut off anywhere, the same command again goes on. An old key that is good for a while stays beside the new one:
    give the act again when that is over, and it is ended. Ends with 0 when it is so, else as `station run` does.
    """
    from station.rework.acts import Asked  # noqa: PLC0415 - keeps --help fast

    asked = Asked(
        config_file=config_file, device=parsed(device_id), act_file=act_file, slots=() if slot is None else (slot,),
        slots_file=slots_file, order_file=order_file,
    )  # fmt: skip
    here = Here(config_file)
    done = asyncio.run(_rework(asked, _say_json if jsonl else _say_step))
    if jsonl:
        data(msgspec.json.encode(done).decode())
    else:
        _show(done, here)
    sys.exit(done.exit_code)


@click.command(short_help="Burn a device's id: by an approved act, or propose it.")
@click.argument("device_id")
@click.option("--act", "act_file", type=_FILE, help="The approved act (station-signer device new --scrap).")
@click.option("--reason", help="Without an act: propose it, at least 8 characters. Asks who you are.")
@CONFIG
@click.option("--jsonl", is_flag=True, help="One JSON object.")
def scrap(device_id: str, act_file: Path | None, reason: str | None, config_file: Path, *, jsonl: bool) -> None:
    """Burn a device's id at the registry, and tell this station's signer: the unit is left untouched ever after.

    A unit that was never finished takes one approver's signature in the act and the one-time code of that approver,
    asked at the terminal; a finished one a product owner's and quality's signature. With --reason nothing is scrapped:
    you sign in, and it is proposed to those who may approve it.
    """
    from station.rework.acts import Asked  # noqa: PLC0415 - keeps --help fast

    device = parsed(device_id)
    if (act_file is None) == (reason is None):
        raise UsageError("give the approved act (--act FILE), or a reason to propose it (--reason TEXT)")
    done: Scrapped | None = None
    if act_file is not None:
        done = asyncio.run(_scrap(Asked(config_file=config_file, device=device, act_file=act_file)))
        said = {
            "device_id": str(device), "order_id": done.order_id, "state": "scrapped", "before": done.before,
            "signer": done.signer,
        }  # fmt: skip
        when = "scrapped before" if done.before else "scrapped"
        words = f"{when}: device {device} of order {done.order_id}; its id is burned"
        note(_KNOWS[done.signer].format(why=done.why))
    else:
        found = _proposed(config_file, device, str(reason))
        said = {"device_id": str(device), "state": found.state, "proposal": found.proposal, "next": found.next}
        words = f"proposed: {found.proposal}. Nothing is scrapped yet"
        note(f"next: {found.next}")
    data(msgspec.json.encode(said).decode() if jsonl else words)
    if done is not None:
        sys.exit(done.exit_code)


def parsed(device_id: str) -> DeviceId:
    """A device id as it was typed."""
    from trust.identity import DeviceId, IdentityError  # noqa: PLC0415 - keeps --help fast

    try:
        return DeviceId.parse(device_id)
    except IdentityError as error:
        raise click.BadParameter(str(error), param_hint="DEVICE_ID") from error


def _say_json(event: ReworkEvent) -> None:
    data(msgspec.json.encode(event).decode())


def _say_step(event: ReworkEvent) -> None:
    from station.events import ReworkWent  # noqa: PLC0415 - keeps --help fast

    if isinstance(event, ReworkWent) and event.done:
        note(f"{event.slot}  {_WORDS[event.step]} ({event.seconds:.1f} s)")


def _show(done: ReworkFinished, here: Here) -> None:
    emulated, before = ", emulated" if done.emulated else "", ", as before" if done.already else ""
    data(f"{done.verdict}  {done.slot}  {done.device_id}{emulated}  {done.change}{before}")
    if done.code:
        for line in (done.sentence, f"{done.code} at {done.step}: {done.detail}", done.remedy):
            note(here.typeable(line))
        return
    data(f"key   {done.fingerprint}")
    if done.old_key_until:
        note(f"the old key is good until {done.old_key_until} and stays beside it: give this act again then")


async def _rework(asked: Asked, told: object) -> ReworkFinished:
    from station.rework import acts  # noqa: PLC0415 - keeps --help fast

    return await acts.rework(asked, told)  # type: ignore[arg-type]  # one of the two above


async def _scrap(asked: Asked) -> Scrapped:
    from station.rework import acts  # noqa: PLC0415 - keeps --help fast

    return await acts.scrap(asked, _approver)


def _approver() -> ApproverCode:
    """Asked only for the scrap of a unit that was never finished, and only if it is still to be done."""
    from station.cloud.devices import ApproverCode  # noqa: PLC0415 - keeps --help fast

    if not is_asked():
        raise UsageError("the approver's one-time code is asked at a terminal, and nowhere else: a unit that was never "
                         "finished is scrapped by one approver, who confirms it")  # fmt: skip
    note("A unit that was never finished is scrapped by one approver: the one who signed the act confirms it now.")
    who = typed("Approver's id", hidden=False)
    return ApproverCode(who, typed("Code"))


def _proposed(config_file: Path, device: DeviceId, reason: str) -> Proposed:
    from station.scrap import proposal  # noqa: PLC0415 - keeps --help fast

    proposal.require_reason(reason)
    who = sign_in("a script gives the approved act (--act FILE)")
    return asyncio.run(proposal.propose_scrap(config_file, device, reason, who))
