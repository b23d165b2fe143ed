"""Evidence: what is true of a unit by the end of each step, as values that only `station.provision` constructs.

`pin()` takes a `Signed`, which only `sign()` returns, which takes an `Intended` …: a step in the wrong order does not
type-check. Holds no behaviour and no live device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fixtures.device import Anchor, Identity
from fixtures.slot import SlotConfig
from station.cloud import PinRecord
from station.jobs import Job, RecordKind
from station.rework.look import Look
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.statement import Closing, Completion, Origin, PinStatement, Possession, Verification, Vetting, read


@dataclass(frozen=True, slots=True)
class Inserted:
    """1: the slot's port is open."""

    slot: SlotConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """2: who it is, right for the order, and what the registry says of it (None: no pin; `asked` False: no answer)."""

    identity: Identity
    registered: PinRecord | None
    asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """The job is durable; `records` is what earlier attempts left behind."""

    identified: Identified
    job: Job
    attempt: int
    records: Mapping[RecordKind, Envelope]

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.identified.identity

    @property
    def registered(self) -> PinRecord | None:
        """What the registry said of it; None: no pin, or no answer."""
        return self.identified.registered

    @property
    def finished_elsewhere(self) -> Envelope | None:
        """The completion that the registry said it has."""
        return None if self.registered is None else self.registered.completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """3: the device holds this job's key."""

    assigned: Assigned
    key: PublicKey
    origin: Origin
    origin_proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """4: possession proven over the signer's own challenge."""

    keyed: Keyed
    possession: Possession


@dataclass(frozen=True, slots=True, kw_only=True)
class Vetted:
    """5: the key is fit to be pinned."""

    proven: Proven
    vetting: Vetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Intended:
    """6: the exact statement bytes are durable."""

    assigned: Assigned
    key: PublicKey
    statement: PinStatement
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """7: the signer's pin statement is durable and in the outbox."""

    assigned: Assigned
    key: PublicKey
    pin: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """8: the registry's receipt is verified and durable, and the pin was read back."""

    assigned: Assigned
    key: PublicKey
    pin: Envelope
    receipt: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchored:
    """9: the order's anchor is in flash and was read back."""

    pinned: Pinned
    anchor: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """10: id, key and anchor survived a power cycle (or a reset, and says so)."""

    anchored: Anchored
    verification: Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """11: writes are refused after another power cycle, and the device signed its closing report."""

    verified: Verified
    closing: Closing


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """12: the completion is durable. `look`: of a unit that had passed before, what was seen of it now."""

    pinned: Pinned
    completion: Envelope
    look: Look | None

    @property
    def already(self) -> bool:
        """It had passed before, and was only verified again."""
        return self._elsewhere or RecordKind.COMPLETION in self.pinned.assigned.records

    @property
    def active(self) -> bool:
        """The registry has said that the pin is active."""
        return self._elsewhere or RecordKind.COMPLETION_RECEIPT in self.pinned.assigned.records

    @property
    def handshake(self) -> Literal["proved", "waived", "not-asked"]:
        """What became of the live handshake, as the completion says it, whenever it was made."""
        return read(self.completion, Completion).verification.handshake

    @property
    def _elsewhere(self) -> bool:
        return self.pinned.assigned.finished_elsewhere is not None
