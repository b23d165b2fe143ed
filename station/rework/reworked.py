"""What reworks have left a finished unit as, by the ledger alone: its key, its anchor, whether it is whole and locked.

For who lets units ship. A word that was said to the unit counts from the moment at which it is on record, whatever came
of it: only a rework that ended well, or a line that has verified the unit again, takes that back. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from station.jobs.leaf import VERIFIED_AGAIN
from station.rework.bench import ENDED, WORD
from station.rework.look import Look
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.rekey import Step
from trust.statement import Event

_TOLD = (WORD, ENDED, VERIFIED_AGAIN)
_PASSED = "PASS"
Reason = Literal["", "not-locked", "in-rework"]
_TEXT: dict[Reason, str] = {
    "": "",
    "not-locked": "an act opened its lock: station run under its order locks it again",
    "in-rework": "a rework of it has not ended well: give the same act again, station device rework ID --act FILE",
}


class Remembers(Protocol):
    """The ledger, as far as reworks go."""

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        """Events of these kinds about a device that belong to no order, oldest first; LedgerError."""


class LeftAs(NamedTuple):
    """A finished unit, as this station's reworks have left it.

    `fingerprint` of the key that one gave it, empty for its first one; `unfinished`, `open`: why it may not ship.
    `covered`: the authority's words that it heard here, or that a look here is younger than (`station.rework.look`).
    `anchor_sha256` of the anchor at the last look, `given_anchor` of the one that an act gave it here; empty for the
    order's.
    """

    fingerprint: str = ""
    open: bool = False
    unfinished: bool = False
    covered: frozenset[str] = frozenset()
    anchor_sha256: str = ""
    given_anchor: str = ""

    @property
    def reason(self) -> Reason:
        """Why it may not ship, by its reworks; empty if they do not keep it."""
        return "in-rework" if self.unfinished else "not-locked" if self.open else ""

    @property
    def text(self) -> str:
        """The reason for people, with what to do."""
        return _TEXT[self.reason]

    def has_anchor(self, orders: str) -> bool:
        """Whether its last look showed the anchor that it is to have; `orders` is the order's, as acts name it."""
        return (self.anchor_sha256 or orders) == self.wanted_anchor(orders)

    def wanted_anchor(self, orders: str) -> str:
        """The anchor that it is to have: of the newest act that gave it one here, else the order's."""
        return self.given_anchor or orders


async def left_as(ledger: Remembers, device: DeviceId) -> LeftAs:
    """Of one device; LedgerError."""
    return of(await ledger.told_of(device, _TOLD))


def of(told: Iterable[Event]) -> LeftAs:
    """As these events tell it, oldest first."""
    left = LeftAs()
    for event in told:
        said = event.details
        if event.kind == WORD:
            left = _heard(left, said.get("step", ""), said.get("word", ""))
        elif event.kind == VERIFIED_AGAIN:
            left = _looked(left, Look.told(said))._replace(open=False)
        elif said.get("verdict") == _PASSED:
            left = _ended(_looked(left, Look.told(said)), said.get("change", ""), said.get("fingerprint", ""))
    return left


def _heard(left: LeftAs, step: str, word: str) -> LeftAs:
    left = left._replace(covered=left.covered | _word(word))
    return left._replace(open=True) if step == Step.UNLOCK.value else left._replace(unfinished=True)


def _looked(left: LeftAs, look: Look) -> LeftAs:
    return left._replace(covered=left.covered | look.words, anchor_sha256=look.anchor_sha256)


def _ended(left: LeftAs, change: str, fingerprint: str) -> LeftAs:
    """Each rework that ends well has looked at the lock: open after an unlock, closed after all others."""
    left = left._replace(unfinished=False, open=change == "unlock")
    if change == "new-key":
        return left._replace(fingerprint=fingerprint)
    return left._replace(given_anchor=left.anchor_sha256) if change == "new-anchor" else left


def _word(said: str) -> frozenset[str]:
    try:
        return frozenset({Envelope.from_json(said.encode()).payload_sha256})
    except EnvelopeError:  # then it counts as one that was not said here
        return frozenset()
