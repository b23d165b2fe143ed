"""What `station run` does: opens the floor, listens to it for people or scripts, and says how the batch ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from station import wiring
from station.cli import views
from station.cli.called import Here
from station.cli.junit import junit
from station.cli.live import Progress
from station.cli.outcome import Outcome
from station.cli.output import DataSoon, data, data_is_seen, is_terminal, note, note_fault
from station.cli.signals import NothingBegunError, Signals
from station.events import (
    AnyEvent,
    LineStopped,
    OutboxSent,
    SignerAwaited,
    SlotSuspect,
    UnitFinished,
)
from station.exits import Exit, worst
from station.faults import Fault
from station.plan import Plan
from station.port import Batch
from station.promised import promised
from station.rehearsal import rehearse


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How the batch is shown, and where its JUnit file goes."""

    jsonl: bool
    verbose: bool
    junit: Path | None
    here: Here


def rehearsed(plan: Plan, slots: tuple[str, ...], *, jsonl: bool) -> Exit:
    """A dry run; raises the fault that would keep the batch from starting."""
    done = asyncio.run(rehearse(plan, slots))
    if jsonl:
        data(views.json_line(done))
    else:
        note(views.rehearsed_line(done))
        for line in views.proof_lines(done.slots, done.proofs, done.handshake_waivers):
            note(line)
    return Exit.PASSED


def provisioned(plan: Plan, batch: Batch, how: How) -> Exit:
    """The whole batch; raises the fault that kept it from starting."""
    outcome = Outcome()
    try:
        asyncio.run(_run(plan, batch, how, outcome))
    except (NothingBegunError, KeyboardInterrupt):  # once it runs it takes signals itself
        if outcome.finished is not None:
            raise
        note("interrupted: no unit was begun, no device was touched")
        return Exit.INTERRUPTED
    except Fault as error:
        if outcome.finished is None:
            raise
        note_fault(error, how.here)  # the units have their verdicts; only the log's head is not signed
        outcome.codes.append(error.row.exit)
    if how.junit is not None and outcome.finished is not None:
        outcome.codes.append(_write(how.junit, junit(outcome.finished, outcome.units, how.here)))
    return worst(outcome.codes)


async def _run(plan: Plan, batch: Batch, how: How, outcome: Outcome) -> None:
    signals = Signals(outcome)
    if not how.jsonl:
        slots = plan.chosen(batch.slots)
        proofs, names = promised(plan.work, slots), [slot.name for slot in slots]
        for line in views.proof_lines(names, proofs, plan.work.handshake_waivers):
            note(line)
    try:
        await _work(plan, batch, how, outcome, signals)
    except asyncio.CancelledError as error:
        if not signals.early:
            raise
        raise NothingBegunError from error


async def _work(plan: Plan, batch: Batch, how: How, outcome: Outcome, signals: Signals) -> None:
    async with wiring.open_floor(plan, batch.slots, told=lambda sent: _left_over(sent, how)) as floor:
        signals.floor_is_open(floor)
        listening = asyncio.create_task(_listen(floor.events(), plan, batch, floor.slots, how, outcome))
        await floor.run(batch)
        await listening
        if outcome.finished is not None and outcome.interrupted:
            for line in views.interrupted_lines(outcome.finished):
                note(line)


async def _listen(
    events: AsyncIterator[AnyEvent], plan: Plan, batch: Batch, slots: tuple[str, ...], how: How, outcome: Outcome
) -> None:
    # A screen that is gone shows nothing any more; the batch goes on, and its verdicts are on record.
    with suppress(OSError), ExitStack() as stack:
        shows: list[Callable[[AnyEvent], None]] = []
        if is_terminal() and not how.jsonl and not how.verbose:
            progress = Progress(plan.work, slots, plan.config.limits.generation_timeout_s, count=batch.count)
            if data_is_seen():
                # Lines would run through the table: what it cannot hold comes below it, at the end.
                stack.callback(lambda: _say_rest(progress, how))
            stack.enter_context(progress)
            shows.append(progress.show)
        if not shows or not data_is_seen():
            lines = DataSoon(asyncio.get_running_loop().call_soon)
            stack.callback(_close, lines, outcome)
            shows.append(lambda event: _say(event, how, lines.say))
        async for told in events:
            event = outcome.take(told)
            for show in tuple(shows):
                try:
                    show(event if how.jsonl else _typeable(event, how.here))
                except OSError:
                    shows.remove(show)


def _close(lines: DataSoon, outcome: Outcome) -> None:
    lines.hand_over()
    if lines.failed is not None:
        why = lines.failed.strerror
        note(f"station: stdout takes nothing more: {why}. The batch itself is on record: station ledger report")
        outcome.codes.append(Exit.USAGE)


def _typeable(event: AnyEvent, here: Here) -> AnyEvent:
    """The event for people: commands in its remedy as they can type them here."""
    match event:
        case UnitFinished() | LineStopped() | SlotSuspect() | SignerAwaited():
            return msgspec.structs.replace(event, remedy=here.typeable(event.remedy))
        case _:
            return event


def _left_over(sent: OutboxSent, how: How) -> None:
    """Said before the batch begins, on stderr for people: stdout is theirs whose lines are verdicts."""
    if how.jsonl:
        data(views.json_line(sent))
    else:
        note(views.left_over_line(sent))


def _say_rest(progress: Progress, how: How) -> None:
    for line in progress.rest():
        data(how.here.typeable(line))


def _say(event: AnyEvent, how: How, say: Callable[[str], None]) -> None:
    if how.jsonl:
        say(views.json_line(event))
        return
    for line in views.plain_lines(event):
        say(how.here.typeable(line))
    if how.verbose and (step := views.step_line(event)) is not None:
        note(step)


def _write(path: Path, content: bytes) -> Exit:
    try:
        path.write_bytes(content)
    except OSError as error:
        note(f"station: {path} cannot be written: {error.strerror}. The batch itself is on record in the ledger.")
        return Exit.USAGE
    return Exit.PASSED
