"""What the floor tells screens and scripts: frozen, serialisable, complete in themselves.

For users only: facts go to the ledger, diagnostics to `logging`. Never carries a secret.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec


class Step(StrEnum):
    """The steps of the flow in their order (docs/flow.md)."""

    INSERTED = "inserted"
    IDENTIFIED = "identified"
    ASSIGNED = "assigned"
    KEYED = "keyed"
    PROVEN = "proven"
    VETTED = "vetted"
    INTENDED = "intended"
    SIGNED = "signed"
    PINNED = "pinned"
    ANCHORED = "anchored"
    VERIFIED = "verified"
    LOCKED = "locked"
    PASSED = "passed"


class Verdict(StrEnum):
    """What became of a unit."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    HELD = "HELD"
    QUARANTINE = "QUARANTINE"


class FloorEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Something that happened in a slot or on the floor; `at` is UTC."""

    at: str
    slot: str = ""


class AttemptBegan(FloorEvent, frozen=True, kw_only=True, tag="attempt-began"):
    """A unit is in and its attempt begins."""


class StepBegan(FloorEvent, frozen=True, kw_only=True, tag="step-began"):
    """A step begins."""

    step: Step


class StepDone(FloorEvent, frozen=True, kw_only=True, tag="step-done"):
    """A step's evidence is there."""

    step: Step
    seconds: float


class UnitSeen(FloorEvent, frozen=True, kw_only=True, tag="unit-seen"):
    """Who is in the slot. `emulated` if the device or the bench says so."""

    device_id: str
    product_id: int
    hardware: str
    emulated: bool


class HandshakeWent(FloorEvent, frozen=True, kw_only=True, tag="handshake"):
    """A live handshake begins (no exchange yet), goes on (about once a second), or ended: proved, or waived and why.

    `unit_seconds` are spent with the unit, its wire among them, `cloud_seconds` with registry and device service.
    """

    outcome: Literal["", "proved", "waived"] = ""
    waiver: Literal["", "service-away", "no-tunnel"] = ""
    exchanges: int = 0
    from_unit: int = 0
    to_unit: int = 0
    unit_seconds: float = 0.0
    cloud_seconds: float = 0.0


class UnitFinished(FloorEvent, frozen=True, kw_only=True, tag="unit-finished"):
    """The attempt's end. For a PASS, `already` means verified again; `cloud` is what the registry has acknowledged.

    `handshake`, of a PASS alone: what became of the live handshake, as the completion on record says it.
    `again`: the unit is tried again at once, so this is not its verdict yet.
    """

    verdict: Verdict
    order: str
    device_id: str = ""
    job: str = ""
    fingerprint: str = ""
    attempt: int = 0
    step: Step | None = None
    code: str = ""
    sentence: str = ""
    remedy: str = ""
    detail: str = ""
    already: bool = False
    again: bool = False
    cloud: Literal["", "provisional", "active"] = ""
    handshake: Literal["", "proved", "waived", "not-asked"] = ""
    emulated: bool = False
    seconds: float = 0.0
    exit_code: int = 0


class LineStopped(FloorEvent, frozen=True, kw_only=True, tag="line-stopped"):
    """No slot begins another step. `code` and `remedy` say why and what to do."""

    code: str
    sentence: str
    remedy: str
    detail: str
    exit_code: int


class SlotSuspect(FloorEvent, frozen=True, kw_only=True, tag="slot-suspect"):
    """So many different units failed in this slot in a row: it is not served any more in this batch."""

    count: int
    sentence: str
    remedy: str


class SignerAwaited(FloorEvent, frozen=True, kw_only=True, tag="signer-awaited"):
    """The signer does not answer, and the line waits for it. `signer-back` or `line-stopped` follows."""

    sentence: str
    remedy: str
    detail: str


class SignerBack(FloorEvent, frozen=True, kw_only=True, tag="signer-back"):
    """Nobody waits for the signer any more; `seconds` since it was told."""

    seconds: float


class OutboxSent(FloorEvent, frozen=True, kw_only=True, tag="outbox-sent"):
    """Before the first unit: `found` statements were left in the outbox by earlier batches, `waiting` still are."""

    found: int
    waiting: int


class BatchFinished(FloorEvent, frozen=True, kw_only=True, tag="batch-finished"):
    """All units of a batch have a verdict. `already` and `waived` (no live handshake) are among those that `passed`.

    `outbox` counts statements that the registry has not acknowledged, None when the ledger could not be read; to
    `objected` of them it answered, but not with a receipt: the log says why, and the exit code is not 0.
    `finish_me` are the ids of the order's held devices: insert them again when the registry, or its device service,
    answers. `to_quarantine` are those that were held and that the registry has refused for good. `interrupted` by a
    signal: then `under_way` units were in work and came to their end.
    """

    order: str
    passed: int
    failed: int
    held: int
    quarantined: int
    already: int
    waived: int = 0
    outbox: int | None
    objected: int = 0
    seconds: float
    exit_code: int
    finish_me: tuple[str, ...] = ()
    to_quarantine: tuple[str, ...] = ()
    interrupted: bool = False
    under_way: int = 0


class Rehearsed(FloorEvent, frozen=True, kw_only=True, tag="rehearsed"):
    """A dry run has found nothing in the way: the order could start on these slots. No device was touched.

    `proofs`: for each slot, what will show that a unit and the cloud know each other; `handshake_waivers`: what the
    order lets stand for it.
    """

    order: str
    slots: tuple[str, ...]
    proofs: tuple[Literal["handshake-tcp", "handshake-udp", "no-tunnel", "not-asked"], ...] = ()
    handshake_waivers: tuple[Literal["service-away", "no-tunnel"], ...] = ()


class ReworkStep(StrEnum):
    """The steps of changing a locked unit, in their order (docs/flow.md)."""

    MET = "met"
    ASKED = "asked"
    KEY_MADE = "key-made"
    PINNED = "pinned"
    COMMITTED = "committed"
    ANCHORED = "anchored"
    UNLOCKED = "unlocked"
    VERIFIED = "verified"
    OLD_KEY_ENDED = "old-key-ended"


class ReworkWent(FloorEvent, frozen=True, kw_only=True, tag="rework-step"):
    """A step of a rework begins, or is done."""

    step: ReworkStep
    done: bool
    seconds: float = 0.0


class ReworkFinished(FloorEvent, frozen=True, kw_only=True, tag="rework-finished"):
    """The end of a rework. For a PASS, `already`: nothing had to be done; `old_key_until`: give the act again then."""

    verdict: Verdict
    device_id: str
    act_sha256: str
    change: str
    fingerprint: str = ""
    old_key_until: str = ""
    already: bool = False
    step: ReworkStep | None = None
    code: str = ""
    sentence: str = ""
    remedy: str = ""
    detail: str = ""
    emulated: bool = False
    exit_code: int = 0


AnyEvent = (
    AttemptBegan
    | StepBegan
    | StepDone
    | UnitSeen
    | HandshakeWent
    | UnitFinished
    | LineStopped
    | SlotSuspect
    | SignerAwaited
    | SignerBack
    | OutboxSent
    | BatchFinished
    | Rehearsed
)

ReworkEvent = ReworkWent | ReworkFinished
"""Of units that are reworked, outside any batch."""
