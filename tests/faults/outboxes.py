"""Outboxes for the trials: one that sends at the batch's end only, and the real `Outbox.run` led beside the flow.

The led one makes one call each time the flow reaches a place that the schedule names, and the flow waits there until it
has: so two tasks that run side by side run in one order, and every order can be asked for. Its calls are fault points of
their own, `outbox.…`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hsm.purposes import Purpose
from hsm.token.signing import SigningKeys
from station.cloud import Cloud, CloudRefusedError
from station.faults import Fault
from station.jobs import Jobs, OutboxItem, RecordKind
from station.jobs.stamp import Stamp
from station.line import Line
from station.outbox import Drained, Outbox
from station.pace import Pace
from tests.faults.points import Failure, Met, Points
from tests.flow.plant import REGISTRY
from tests.hsm.software_token import SoftwareToken
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Receipt, encode, read

T = TypeVar("T")
Places = tuple[tuple[str, int], ...]
"""Fault points of the flow (`Met.key`), each with how many calls the outbox makes before it."""


class QuietOutbox(Outbox):
    """Sends when the batch ends only, so that the points of a run come in one order."""

    async def run(self) -> None:
        await asyncio.Event().wait()


@dataclass(slots=True)
class Gate:
    """Where the outbox waits before each of its calls and in each of its rests; `now` is the time it is told."""

    places: dict[str, int]
    now: float = 0.0
    wide_open: bool = False
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _made: asyncio.Event = field(default_factory=asyncio.Event)
    _one_leads: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def lead(self, met: Met) -> None:
        """The flow is at this point: let the outbox make the calls that the schedule has here."""
        calls = self.places.pop(met.key, 0)
        if not calls:  # the outbox's own points, too
            return
        async with self._one_leads:
            for _ in range(calls):
                await _settled()
                if not self._waiting:
                    return
                self._made.clear()
                self._waiting.popleft().set_result(None)
                await self._made.wait()
            await _settled()

    async def through(self, act: Callable[[], Awaitable[T]]) -> T:
        """A call of the outbox: its turn first, unless the gate is wide open."""
        if self.wide_open:
            return await act()
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            raise
        try:
            return await act()
        finally:
            self._made.set()

    async def sleep(self, seconds: float) -> None:
        """A rest is over when its turn comes; time has gone on meanwhile."""

        async def rested() -> None:
            self.now += seconds

        await self.through(rested)


async def _settled() -> None:
    """What was set free has run as far as it comes without another call."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass(slots=True)
class BesidePoints:
    """The fault points of a run as the outbox's parties have them."""

    points: Points
    gate: Gate

    async def call(
        self, name: str, act: Callable[[], Awaitable[T]], failures: tuple[Failure, ...], *, powered: bool = False
    ) -> T:
        return await self.gate.through(lambda: self.points.call(f"outbox.{name}", act, failures, powered=powered))


class LedOutbox(Outbox):
    """The real one; only at the batch's end, when `run` is over, it may do as it likes."""

    gate: Gate

    async def drain_once(self) -> Drained:
        self.gate.wide_open = True
        return await super().drain_once()


@dataclass(slots=True)
class EagerSender:
    """Books each statement, then sends it."""

    sender: Any
    book: Callable[[OutboxItem], Awaitable[None]]

    def next_few(self, due: Sequence[OutboxItem]) -> int:
        return self.sender.next_few(due)

    async def send(self, items: Sequence[OutboxItem]) -> Any:
        for each in items:
            await self.book(each)
        return await self.sender.send(items)


class EagerOutbox(LedOutbox):
    """Negative control: books a delivery before the registry has answered, with a receipt as it will be."""

    keys: SigningKeys

    async def _book(self, item: OutboxItem) -> None:
        pin = item.kind is RecordKind.PIN
        kind = RecordKind.PIN_RECEIPT if pin else RecordKind.COMPLETION_RECEIPT
        await self._jobs.record(item.job.job_id, kind, self._receipt(item, pin=pin))

    def _receipt(self, item: OutboxItem, *, pin: bool) -> Envelope:
        about = read(item.envelope, PinStatement) if pin else read(item.envelope, Completion)
        told = Receipt(
            environment=about.environment, root_sha256=about.root_sha256, registry=REGISTRY,
            subject="pin" if pin else "completion", statement_sha256=item.envelope.payload_sha256,
            order_id=about.order_id, job=about.job, device_id=about.device_id, fingerprint=about.fingerprint,
            state="provisional" if pin else "active", registered_at=about.made_at,
        )  # fmt: skip
        return self.keys.envelope(Purpose.RECEIPT, Receipt.PAYLOAD_TYPE, encode(told))


class DeafOutbox(LedOutbox):
    """Negative control: takes no refusal for good."""

    async def _refused(self, item: OutboxItem, error: CloudRefusedError) -> Any:
        return await super()._refused(item, CloudRefusedError(Code.INTERNAL, str(error)))


Kind = Literal["quiet", "led", "eager", "deaf"]
_CLASSES = {"quiet": QuietOutbox, "led": LedOutbox, "eager": EagerOutbox, "deaf": DeafOutbox}


def make_outbox(
    kind: Kind, gate: Gate, *, line: Line, jobs: Jobs, cloud: Cloud, stamp: Stamp, place: Path
) -> Callable[[Callable[[Fault], None]], Outbox]:
    """How the floor makes its outbox of this kind; `place` is the plant's directory."""

    def make(stop_line: Callable[[Fault], None]) -> Outbox:
        made = _CLASSES[kind](
            jobs,
            cloud,
            root=line.root,
            stamp=stamp,
            stop_line=stop_line,
            in_work=line.in_work.__contains__,
            pace=Pace(monotonic=lambda: gate.now, sleep=gate.sleep, uniform=lambda: 0.5),
        )
        if isinstance(made, LedOutbox):
            made.gate = gate
        if isinstance(made, EagerOutbox):
            made.keys = SigningKeys(SoftwareToken(place / "cloud"))
            made._sender = EagerSender(made._sender, made._book)
        return made

    return make
