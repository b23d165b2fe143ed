"""What each step of a rework has shown. Made by `rework.flow` alone: steps in a wrong order do not type-check."""

from __future__ import annotations

from dataclasses import dataclass

from fixtures.device import Anchor, Identity, StoredKey
from station.cloud.held import DoneAct, Held
from station.rework.look import Look
from trust.dsse import Envelope
from trust.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """The act's unit is in the slot: the key that it uses, and its anchor."""

    identity: Identity
    key: StoredKey
    anchor: Anchor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the registry says of the unit, and the act as it has done it, proved, if it has.

    `words` that no pin shows, which it had given by then; by the SHA-256 of their payloads.
    """

    met: Met
    held: Held
    done: DoneAct | None
    words: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """The unit has the new key, and `leave` says by whose leave; None once that is the registry's."""

    asked: Asked
    key: PublicKey
    leave: Envelope | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The registry has pinned the new key by this act; `held` is what it said last."""

    new: NewKey
    held: Held


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """The unit uses the new key, after a power cycle too."""

    pinned: Pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class Reworked:
    """What the act wanted is so, and `look` is what was seen of it.

    `old_key_until`: the old key is ended then, by the same act given again.
    """

    met: Met
    look: Look
    fingerprint: str
    already: bool
    old_key_until: str = ""
