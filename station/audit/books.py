"""An order's units, counted from the leaves alone: what it allows, and what `station ledger report` must say of it.

Check 15. A device counts once. Each station's signer counts what it signs itself, so only this station's statements are
held against the order's limits; a unit that another station began or finished is on that station's account. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from station.jobs import RecordKind
from trust.order import Allotment, WorkOrder
from trust.statement import Completion, PinStatement

Problem = tuple[int, str]


@dataclass(slots=True)
class Account:
    """One order: devices that this station signed for and completed; jobs by how far their records say they got."""

    order: WorkOrder | None = None
    pinned: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    signed_for: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    @property
    def equation(self) -> tuple[int, int, int]:
        """Signed for, passed, lost: the report's other figures follow from these and the order."""
        return len(self.signed_for), len(self.passed), len(self.lost)


class Books:
    """All orders of a log."""

    def __init__(self, station: str) -> None:
        self._station = station
        self.accounts: dict[str, Account] = {}

    def open(self, order: WorkOrder) -> None:
        """An order's leaf."""
        self.accounts.setdefault(order.order_id, Account()).order = order

    def enter(self, order_id: str, job: str, kind: RecordKind, body: object) -> Iterator[Problem]:
        """A record of a job under this order."""
        account = self.accounts.setdefault(order_id, Account())
        match kind, body:
            case RecordKind.PIN, PinStatement():
                account.signed_for.add(job)
                yield from self._count(account, account.pinned, body)
            case RecordKind.COMPLETION, Completion():
                account.passed.add(job)
                yield from self._count(account, account.completed, body)
            case RecordKind.PIN_REFUSED, _:
                account.lost.add(job)

    def _count(self, account: Account, units: set[str], body: PinStatement | Completion) -> Iterator[Problem]:
        """One more unit of this station's, if it is one."""
        if body.station != self._station or body.device_id in units:
            return
        units.add(body.device_id)
        if account.order is None:
            return  # a finding of its own: the order is not in the log before it
        part = account.order.stations.get(self._station, Allotment(quantity=0))
        most = part.quantity + (part.allowance if isinstance(body, PinStatement) else 0)
        if len(units) > most:
            what = "signed for" if isinstance(body, PinStatement) else "completed"
            yield 15, f"{len(units)} devices are {what} under order {account.order.order_id}, it allows {most}"
