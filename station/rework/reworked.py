"""What reworks have left a finished unit as, by the ledger alone: which key it uses, whether it is whole and locked.

For who lets units ship. A word that was said to the unit counts from the moment at which it is on record, whatever came
of it: only a rework that ended well, or a line that has locked the unit again, takes that back. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from station.jobs.leaf import LOCKED_AGAIN
from station.rework.bench import ENDED, WORD
from trust.dsse import Envelope, EnvelopeError
from trust.identity import DeviceId
from trust.rekey import Step
from trust.statement import Event

Reason = Literal["", "not-locked", "in-rework"]
_TOLD = (WORD, ENDED, LOCKED_AGAIN)
_PASSED = "PASS"
_TEXT = {
    "": "",
    "not-locked": "an act opened its lock: station run under its order locks a unit with its first key again",
    "in-rework": "a rework of it has not ended well: give the same act again, station device rework ID --act FILE",
}


class Remembers(Protocol):
    """The ledger, as far as reworks go."""

    async def told_of(self, device: DeviceId, kinds: tuple[str, ...]) -> tuple[Event, ...]:
        """Events of these kinds about a device that belong to no order, oldest first; LedgerError."""


class LeftAs(NamedTuple):
    """`fingerprint` of the key that a rework gave it, empty for its first one; `reason` why it may not ship, if any.

    `said`: the authority's words that it heard here, by the SHA-256 of their payloads; `whole_at` when it was last seen
    whole and its lock as it must be (UTC, RFC 3339), empty for never since it passed.
    """

    fingerprint: str
    reason: Reason
    said: frozenset[str] = frozenset()
    whole_at: str = ""

    @property
    def text(self) -> str:
        """The reason for people, with what to do."""
        return _TEXT[self.reason]


async def left_as(ledger: Remembers, device: DeviceId) -> LeftAs:
    """Of one device; LedgerError."""
    return of(await ledger.told_of(device, _TOLD))


def of(told: Iterable[Event]) -> LeftAs:
    """As these events tell it, oldest first."""
    left = LeftAs("", "")
    for event in told:
        said = event.details
        if event.kind == LOCKED_AGAIN:
            left = left if left.reason == "in-rework" else left._replace(reason="", whole_at=event.at)
        elif event.kind == WORD:
            reason: Reason = "not-locked" if said.get("step") == Step.UNLOCK.value else "in-rework"
            left = left._replace(reason=reason, said=left.said | _word(said.get("word", "")))
        elif said.get("verdict") == _PASSED:
            left = _ended(left, said.get("change", ""), said.get("fingerprint", ""))._replace(whole_at=event.at)
    return left


def _ended(left: LeftAs, change: str, fingerprint: str) -> LeftAs:
    """Each rework that ends well has looked at the lock: open after an unlock, closed after all others."""
    key = fingerprint if change == "new-key" else left.fingerprint
    return left._replace(fingerprint=key, reason="not-locked" if change == "unlock" else "")


def _word(said: str) -> frozenset[str]:
    try:
        return frozenset({Envelope.from_json(said.encode()).payload_sha256})
    except EnvelopeError:  # then it counts as one that was not said here
        return frozenset()
