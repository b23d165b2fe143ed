"""Events as lines: for people in a pipe, for scripts as JSON. Pure.

Commands in them are to be completed by whoever shows them (`station.cli.called`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from station.events import (
    AnyEvent,
    BatchFinished,
    HandshakeWent,
    LineStopped,
    OutboxSent,
    Rehearsed,
    SignerAwaited,
    SignerBack,
    SlotSuspect,
    StepDone,
    UnitFinished,
    UnitSeen,
    Verdict,
)
from station.promised import Proof, in_words
from trust.printable import printable
from trust.statement import Waiver

_AGAIN = "insert it again when the registry, or its device service, answers"
_LOST = "out of the held bin: the registry has refused it for good; call the line engineer"


def json_line(event: AnyEvent) -> str:
    """One JSON object."""
    return msgspec.json.encode(event).decode()


def plain_lines(event: AnyEvent) -> tuple[str, ...]:
    """Lines for people; none for events that only a live screen shows."""
    match event:
        case UnitFinished():
            return (unit_line(event),)
        case HandshakeWent(outcome="waived") | SlotSuspect():
            return (slot_line(event),)
        case SignerAwaited() | SignerBack():
            return (signer_line(event),)
        case LineStopped():
            return (f"LINE STOP  {event.sentence} {event.remedy} ({event.code}: {printable(event.detail)})",)
        case BatchFinished():
            return batch_lines(event)
        case _:
            return ()


def slot_line(event: HandshakeWent | SlotSuspect) -> str:
    """What is to be known of a slot or its unit beside the verdict."""
    if isinstance(event, HandshakeWent):
        return f"{event.slot:<10} WAIVED     no live handshake ({event.waiver}), as the order allows"
    return f"{event.slot:<10} SUSPECT    {event.sentence} {event.remedy}"


def signer_line(event: SignerAwaited | SignerBack) -> str:
    """That the line waits for the signer, or does no more."""
    if isinstance(event, SignerAwaited):
        return f"WAITING    {awaited(event)}"
    return f"GOES ON    the signer answers again after {event.seconds:.1f} s"


def awaited(event: SignerAwaited) -> str:
    """What the line waits for, until when, and why if that is known."""
    return f"{event.sentence} {event.remedy}{f' [{printable(event.detail)}]' if event.detail else ''}"


def step_line(event: AnyEvent) -> str | None:
    """One line of progress (with --verbose)."""
    match event:
        case UnitSeen():
            kind = " (emulated)" if event.emulated else ""
            return f"{event.slot:<10} unit {event.device_id}, product {event.product_id}, {event.hardware}{kind}"
        case StepDone():
            return f"{event.slot:<10} {event.step:<10} {event.seconds * 1000:8.1f} ms"
        case HandshakeWent(outcome="" | "proved"):
            return f"{event.slot:<10} handshake  {_met_so_far(event)}"
        case _:
            return None


def _met_so_far(event: HandshakeWent) -> str:
    """How far a live handshake is, and where its time has gone."""
    if not event.exchanges:
        return "begins"
    ended = f"{event.outcome}, " if event.outcome else ""
    took = f"{event.unit_seconds * 1000:.1f} ms with the unit, {event.cloud_seconds * 1000:.1f} ms with the cloud"
    return f"{ended}{event.exchanges} exchanges, {event.from_unit} bytes from the unit, {event.to_unit} to it; {took}"


def rehearsed_line(done: Rehearsed) -> str:
    """What a dry run has found: nothing in the way."""
    slots = "1 slot" if len(done.slots) == 1 else f"{len(done.slots)} slots"
    return f"dry run: order {done.order} could start on {slots}; no device was touched"


def proof_lines(slots: Sequence[str], proofs: Sequence[Proof], waivers: Collection[Waiver] = ()) -> tuple[str, ...]:
    """What will show that units and cloud know each other: one line where it is the same for all slots."""
    kinds = tuple(dict.fromkeys(proofs))
    if len(kinds) == 1:
        return (f"proof: {in_words(kinds[0], waivers)}",)
    named = {
        kind: ", ".join(slot for slot, proof in zip(slots, proofs, strict=True) if proof == kind) for kind in kinds
    }
    return tuple(f"proof: {where}: {in_words(kind, waivers)}" for kind, where in named.items())


def left_over_line(sent: OutboxSent) -> str:
    """What became of the statements that earlier batches had left in the outbox."""
    found = "1 statement was" if sent.found == 1 else f"{sent.found} statements were"
    gone = sent.found - sent.waiting
    rest = f"{sent.waiting} still in it: sent again during this batch" if sent.waiting else "none left"
    return f"outbox: {found} left from earlier; {gone} sent, {rest}"


def interrupted_lines(batch: BatchFinished) -> tuple[str, ...]:
    """What an interruption has left: nothing that is lost."""
    match batch.under_way:
        case 0:
            units = "no unit was under way"
        case 1:
            units = "1 unit was under way and has its verdict"
        case several:
            units = f"{several} units were under way and have their verdicts"
    return (
        f"interrupted: {units}; nothing is lost, insert again what did not pass",
        f"outbox: {in_outbox(batch.outbox)}",
    )


def in_outbox(outbox: int | None) -> str:
    """How many statements wait, and that they are safe."""
    match outbox:
        case None:
            return "unknown, the ledger cannot be read"
        case 0:
            return "empty, the registry has acknowledged everything"
        case 1:
            return "1 statement, safe in the ledger; the next batch sends it"
        case _:
            return f"{outbox} statements, safe in the ledger; the next batch sends them"


def unit_line(unit: UnitFinished) -> str:
    """A verdict with what to do next; an attempt that is none yet says so instead."""
    head = f"{unit.slot:<10} {'again' if unit.again else unit.verdict:<10} {unit.device_id or 'no device':<24}"
    emulated = "  emulated" if unit.emulated else ""
    if unit.verdict is Verdict.PASS:
        return f"{head}  {passed(unit)}  key {unit.fingerprint[:16]}  {unit.seconds:.2f} s{emulated}"
    where = f" at {unit.step}" if unit.step else ""
    detail = f" [{printable(unit.detail)}]" if unit.detail else ""
    remedy = "It is tried again." if unit.again else unit.remedy
    return f"{head}  {unit.code}{where}: {unit.sentence} {remedy}{detail}{emulated}"


def passed(unit: UnitFinished) -> str:
    """How far the PASS has come: never more than is on record."""
    where = "active in the cloud" if unit.cloud == "active" else "safe at the station"
    return f"{'already passed, ' if unit.already else ''}{where}{unmet(unit)}"


def unmet(unit: UnitFinished) -> str:
    """That unit and cloud never met live, which no PASS may hide."""
    return ", handshake WAIVED" if unit.handshake == "waived" else ""


def batch_lines(batch: BatchFinished, *, shown: Collection[str] = ()) -> tuple[str, ...]:
    """A batch's tally, and the order's units that wait to be finished; those `shown` above as held share one line."""
    already = f" ({batch.already} already)" if batch.already else ""
    waived = f", {batch.waived} of them without handshake (WAIVED)" if batch.waived else ""
    tally = (
        f"order {batch.order}: {batch.passed} passed{already}{waived}, {batch.failed} failed, {batch.held} held, "
        f"{batch.quarantined} quarantined in {batch.seconds:.1f} s{_waiting(batch.outbox)}"
    )
    above = sum(device in shown for device in batch.finish_me)
    held = [f"finish me  {device}  {_AGAIN}" for device in batch.finish_me if device not in shown]
    if above:
        held.insert(0, f"finish me  {'the unit' if above == 1 else f'the {above} units'} HELD above  {_AGAIN}")
    lost = [f"quarantine {device}  {_LOST}" for device in batch.to_quarantine]
    return (tally, *held, *lost, *objected_lines(batch.objected))


def objected_lines(count: int) -> tuple[str, ...]:
    """Statements that the registry answered without a receipt: nobody but a person can find out why."""
    if not count:
        return ()
    what = "1 statement" if count == 1 else f"{count} statements"
    line = (
        f"objected   {what}: the registry answered, but with no receipt. Nothing is lost: what it objects to stays in "
        "the outbox. The log (stderr) says why; call the line engineer, then station check --config FILE"
    )
    return (line,)


def _waiting(outbox: int | None) -> str:
    match outbox:
        case None:
            return "; the ledger cannot be read"
        case 0:
            return ""
        case 1:
            return "; 1 statement waits for the registry"
        case _:
            return f"; {outbox} statements wait for the registry"
