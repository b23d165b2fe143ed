"""Many pins and completions at once: each by the rules for one, in as few transactions and requests as they need.

All that holds is stored in one transaction; when anything stands against one of it, that transaction is undone and each
is tried by itself: a bad line never harms another. What is there already is looked up first, only to be answered:
the unique constraints and the counts decide. Never answers without a receipt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner
from registry.clock import stamp, utc_now
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins import store
from registry.pins.checks import CheckedPin, check_pin
from registry.pins.closing import CheckedCompletion, check_completion, check_signed
from registry.pins.intake import Intake
from registry.pins.reading import UntrustedError
from registry.pins.receipts import Receipts
from registry.pins.record import PinRecord
from registry.pins.service import PinService
from registry.pins.store import Stored, StoredPin
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.root import TrustedRoot
from trust.statement import Completion

C = TypeVar("C", CheckedPin, CheckedCompletion)
T = TypeVar("T", StoredPin, Stored)


@dataclass(frozen=True, slots=True)
class PinLine:
    """A device to be pinned. `order`: its envelope, or the SHA-256 of one that this batch or the registry has."""

    device: DeviceId
    statement: Envelope
    order: Envelope | str


@dataclass(frozen=True, slots=True)
class CompletionLine:
    """A pin to be completed."""

    device: DeviceId
    completion: Envelope


Line = PinLine | CompletionLine
Settled = PinRecord | RefusedError | ReceiptUnavailableError | UntrustedError
"""What is held now, or why not."""
_Found = dict[int, Settled]
_SEND_ORDER = "the order is not known here: send its envelope with one line of the batch"


class PinBatch:
    """The registry's answer to many statements at once. Safe to call from many threads."""

    def __init__(
        self,
        database: Database,
        trusted: TrustedRoot,
        signer: ReceiptSigner,
        pins: PinService,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._trusted = trusted
        self._pins = pins
        self._receipts = Receipts(database=database, trusted=trusted, signer=signer, now=now)
        self._intake = Intake(trusted)
        self._now = now

    def settle(self, lines: Sequence[Line]) -> list[Settled]:
        """What has come of each line, in their order; pins first, so that a batch may complete what it has pinned."""
        pins = {number: each for number, each in enumerate(lines) if isinstance(each, PinLine)}
        done = {number: each for number, each in enumerate(lines) if isinstance(each, CompletionLine)}
        found = {**self._settle_pins(pins), **self._settle_completions(done)}
        return [found[number] for number in range(len(lines))]

    # ---- pins

    def _settle_pins(self, lines: dict[int, PinLine]) -> _Found:
        if not lines:
            return {}
        found, checked = self._checked_pins(lines)
        with self._database.read() as connection:
            held = store.load_many(connection, [each.device for each in checked.values()])
        there = {
            number: held[each.device][0]
            for number, each in checked.items()
            if each.device in held and held[each.device][0].pin.statement.payload == each.envelope.payload
        }
        if there:
            self._database.assure()
        fresh = {number: each for number, each in checked.items() if number not in there}
        stored, refused = self._take(fresh, self._intake.pins)
        for order in {fresh[number].order_envelope for number in stored}:
            self._intake.papers.seen(order)
        found.update(refused)
        found.update(self._with_receipts({**there, **stored}))
        for number in sorted(checked.keys() - found.keys()):  # something stands against it: one by one it is told what
            each = checked[number]
            found[number] = _told(partial(self._pins.pin, each.device, each.envelope, each.order_envelope))
        return found

    def _checked_pins(self, lines: dict[int, PinLine]) -> tuple[_Found, dict[int, CheckedPin]]:
        orders = self._orders(lines.values())
        found: _Found = {}
        checked: dict[int, CheckedPin] = {}
        for number, line in lines.items():
            order = line.order if isinstance(line.order, Envelope) else orders.get(line.order)
            if order is None:
                found[number] = RefusedError(Code.ORDER_UNKNOWN, _SEND_ORDER)
                continue
            try:
                checked[number] = check_pin(self._trusted, line.device, line.statement, order)
            except RefusedError as error:
                found[number] = error
        return found, checked

    def _orders(self, lines: Iterable[PinLine]) -> dict[str, Envelope]:
        """The orders that lines name by hash: from the batch itself, else as the registry has them."""
        given = [each.order for each in lines]
        orders = {each.payload_sha256: each for each in given if isinstance(each, Envelope)}
        named = {each for each in given if isinstance(each, str)} - orders.keys()
        if named:
            with self._database.read() as connection:
                kept = {each: self._intake.papers.admissible(connection, each) for each in sorted(named)}
            orders.update({sha256: each for sha256, each in kept.items() if each is not None})
        return orders

    # ---- completions

    def _settle_completions(self, lines: dict[int, CompletionLine]) -> _Found:
        if not lines:
            return {}
        found, signed = self._signed_completions(lines)
        with self._database.read() as connection:
            held = store.load_many(connection, [lines[number].device for number in signed])
        here = {number: held[lines[number].device] for number in signed if lines[number].device in held}
        records = self._with_receipts({number: pin for number, (pin, _) in here.items()})
        checked: dict[int, CheckedCompletion] = {}
        for number, done in signed.items():
            line, record = lines[number], records.get(number, _not_pinned(lines[number].device))
            if not isinstance(record, PinRecord) or _is_completed_by(record, line.completion):
                found[number] = record
                continue
            try:
                order = Envelope.from_json(here[number][1])
                checked[number] = check_completion(self._trusted, done, line.completion, record, order)
            except RefusedError as error:
                found[number] = error
        if any(isinstance(each, PinRecord) for each in found.values()):  # completed already
            self._database.assure()
        stored, refused = self._take(checked, self._intake.completions)
        found.update(refused)
        active = {number: _completed(here[number][0], records[number], done) for number, done in stored.items()}
        found.update(self._with_receipts(active))
        for number in sorted(checked.keys() - found.keys()):
            found[number] = _told(partial(self._pins.complete, lines[number].device, lines[number].completion))
        return found

    def _signed_completions(self, lines: dict[int, CompletionLine]) -> tuple[_Found, dict[int, Completion]]:
        found: _Found = {}
        signed: dict[int, Completion] = {}
        for number, line in lines.items():
            try:
                signed[number] = check_signed(self._trusted, line.device, line.completion)
            except RefusedError as error:
                found[number] = error
        return found, signed

    # ---- both

    def _take(
        self, checked: dict[int, C], insert: Callable[[Connection, Sequence[C], str], list[T]]
    ) -> tuple[dict[int, T], _Found]:
        """What was stored, and what was refused; neither, if something stored stands against it."""
        if not checked:
            return {}, {}
        order = sorted(checked, key=lambda number: str(checked[number].device))
        try:
            together = [checked[number] for number in order]
            stored = self._database.writing(lambda connection: insert(connection, together, stamp(self._now())))
            return dict(zip(order, stored, strict=True)), {}
        except (IntegrityError, RefusedError):
            return self._database.writing(lambda connection: self._take_each(connection, checked, order, insert))

    def _take_each(
        self,
        connection: Connection,
        checked: dict[int, C],
        order: Sequence[int],
        insert: Callable[[Connection, Sequence[C], str], list[T]],
    ) -> tuple[dict[int, T], _Found]:
        taken: dict[int, T] = {}
        refused: _Found = {}
        at = stamp(self._now())
        for number in order:
            try:
                with connection.begin_nested():
                    (taken[number],) = insert(connection, [checked[number]], at)
            except RefusedError as error:
                refused[number] = error
            except IntegrityError:
                continue
        return taken, refused

    def _with_receipts(self, stored: dict[int, StoredPin]) -> _Found:
        return dict(zip(stored, self._receipts.complete_all(list(stored.values())), strict=True))


def _completed(pin: StoredPin, record: Settled, done: Stored) -> StoredPin:
    assert isinstance(record, PinRecord), "only what has its receipt is completed"  # noqa: S101
    return replace(pin, pin=replace(pin.pin, receipt=record.pin.receipt), completion=done)


def _is_completed_by(record: PinRecord, completion: Envelope) -> bool:
    return record.completion is not None and record.completion.statement.payload == completion.payload


def _not_pinned(device: DeviceId) -> RefusedError:
    return RefusedError(Code.NOT_PINNED, f"device {device} has no pin: pin it first")


def _told(work: Callable[[], PinRecord]) -> Settled:
    try:
        return work()
    except (RefusedError, ReceiptUnavailableError, UntrustedError) as error:
        return error
