"""An order's units, counted from the leaves alone: what it allows, and what `station ledger report` must say of it.

Check 15. A device counts once. Each station's signer counts what it signs itself, so only this station's statements are
held against the order's limits; a unit that another station began or finished is on that station's account. Pure.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from station.jobs import RecordKind
from station.jobs.papers import Paper
from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.order import Allotment, WorkOrder
from trust.revocation import Revocation
from trust.statement import Completion, PinStatement

Problem = tuple[int, str]


@dataclass(slots=True)
class Account:
    """One order: devices that this station signed for and completed; jobs by how far their records say they got.

    `signed_for` has each job's device.

    `told_raised` and `told_scrapped` are what the signer said of it in its balances, at most.
    """

    order: WorkOrder | None = None
    raised: int = 0
    told_raised: int = 0
    told_scrapped: int = 0
    returned: AllotmentReturn | None = None
    scrapped: set[str] = field(default_factory=set)
    pinned: set[str] = field(default_factory=set)
    completed: set[str] = field(default_factory=set)
    signed_for: dict[str, str] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def equation(self, out: Container[str]) -> tuple[int, int, int, int]:
        """Signed for, passed, lost, `out`, which are scrapped: the report's other figures follow from these."""
        scrapped = sum(device in out for job, device in self.signed_for.items() if job not in self.lost)
        return len(self.signed_for), len(self.passed), len(self.lost), scrapped

    def most_pins(self, part: Allotment) -> int:
        """Devices that may be signed for: none more, once the rest was returned."""
        return part.quantity + part.allowance + self.raised if self.returned is None else self.returned.pins

    def most_completions(self, part: Allotment) -> int:
        """Devices that may be completed: scrap frees a place, what was returned is gone."""
        given_back = 0 if self.returned is None else self.returned.quantity
        return part.quantity - given_back + len(self.scrapped)


class Books:
    """All orders of a log."""

    def __init__(self, station: str) -> None:
        self._station = station
        self.accounts: dict[str, Account] = {}
        self.scrapped: set[str] = set()
        self._told_accepted = 0
        self._lifted = 0

    def open(self, order: WorkOrder) -> None:
        """An order's leaf."""
        self.accounts.setdefault(order.order_id, Account()).order = order

    def enter(self, order_id: str, job: str, kind: RecordKind, body: object) -> Iterator[Problem]:
        """A record of a job under this order."""
        account = self.accounts.setdefault(order_id, Account())
        match kind, body:
            case RecordKind.PIN, PinStatement():
                account.signed_for[job] = body.device_id
                yield from self._count(account, account.pinned, body)
            case RecordKind.COMPLETION, Completion():
                account.passed.add(job)
                yield from self._count(account, account.completed, body)
            case RecordKind.PIN_REFUSED, _:
                account.lost.add(job)

    def change(self, paper: Paper) -> Iterator[Problem]:
        """A paper that changes an order's numbers, or holds them: a signer's balance covers every leaf before it."""
        match paper:
            case Act() if paper.kind == "raise-allowance":
                self.accounts.setdefault(paper.order_id, Account()).raised += paper.units
            case Act() if paper.kind == "lift-stop":
                self._lifted += 1
            case AllotmentReturn():
                self.accounts.setdefault(paper.order_id, Account()).returned = paper
            case Revocation():
                self.scrapped.add(paper.device_id)
                account = self.accounts.setdefault(paper.order_id, Account())
                if paper.device_id in account.completed:
                    account.scrapped.add(paper.device_id)
            case Balance():
                yield from self._hold(paper)
            case _:
                return

    def unpapered(self) -> Iterator[tuple[str, str]]:
        """Orders (or none) of which a balance tells more than the papers of the whole log account for, and how much.

        Asked at the end: an act that was done just before a crash comes on record after the next balance.
        """
        for order_id, account in self.accounts.items():
            for what, told, found in (
                ("raised", account.told_raised, account.raised),
                ("scrapped", account.told_scrapped, len(account.scrapped)),
            ):
                if told > found:
                    yield order_id, f"the signer has {what} {told} units, papers in the log say {found}: one is missing"
        if self._told_accepted and not self._lifted:
            yield "", f"the signer takes {self._told_accepted} signatures as accepted, no act in the log lifts a stop"

    def _hold(self, balance: Balance) -> Iterator[Problem]:
        for count in balance.orders:
            account = self.accounts.setdefault(count.order_id, Account())
            account.told_raised = max(account.told_raised, count.raised)
            account.told_scrapped = max(account.told_scrapped, count.scrapped)
            for what, told, found in (
                ("signed for", count.pins, len(account.pinned)),
                ("completed", count.completions, len(account.completed)),
            ):
                if told < found:
                    text = f"the signer has {what} {told} devices under order {count.order_id}, the log has {found}"
                    yield 15, f"{text}: its memory is older than the log"
        signed = sum(each.payloads + each.resigned for each in balance.signatures.values())
        self._told_accepted = max(self._told_accepted, balance.accepted)
        if balance.by_token is not None and balance.by_token > signed + balance.accepted:
            yield 15, f"the token has made {balance.by_token} signatures, its signer knows of {signed}"

    def _count(self, account: Account, units: set[str], body: PinStatement | Completion) -> Iterator[Problem]:
        """One more unit of this station's, if it is one."""
        if body.station != self._station or body.device_id in units:
            return
        units.add(body.device_id)
        if account.order is None:
            return  # a finding of its own: the order is not in the log before it
        part = account.order.stations.get(self._station, Allotment(quantity=0))
        most = account.most_pins(part) if isinstance(body, PinStatement) else account.most_completions(part)
        if len(units) > most:
            what = "signed for" if isinstance(body, PinStatement) else "completed"
            yield 15, f"{len(units)} devices are {what} under order {account.order.order_id}, it allows {most}"
