"""The one readers' function: what a device's stored rows prove about its keys now. Pure, and believes no row.

Statement, order, approvals, proofs, receipts and acts are verified each time, from their own signatures, and every
column is compared with them. Used by the API's answers, by `station-registry pin` and `check`, and by whoever serves
devices. Nothing is told of a record with anything wrong in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from registry.pins.finding import Finding
from registry.pins.life import Deed, Lived, lived
from registry.pins.papers import Papers, papers
from registry.pins.rows import DeviceRows
from registry.pins.words import Word, told
from trust.keys import PublicKey
from trust.pin_act import State
from trust.pin_life import Life
from trust.root import TrustedRoot
from trust.statement import moment

KeyState = Literal["provisional", "active", "expiring", "ended", "revoked", "scrapped"]


class UntrustedError(Exception):
    """What is stored does not verify: nothing of it is told. `findings` says what and where, `told` is all we say."""

    told: ClassVar[str] = (
        "what is stored about this device does not verify: nothing of it is told; ask the registry's operator"
    )

    def __init__(self, findings: Sequence[Finding]) -> None:
        first = findings[0]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"{first}{more}")
        self.findings = tuple(findings)

    @property
    def tables(self) -> str:
        """In which tables something was found: for logs, which name no device."""
        return ", ".join(sorted({each.table for each in self.findings}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedKey:
    """One key that was ever pinned for the device: its state now, since when, and until when it was or is good."""

    key: PublicKey
    state: KeyState
    since: str
    until: str | None = None

    def at(self, now: datetime) -> PinnedKey:
        """Later on: an expiring key after its end has ended, by the clock alone, whatever was or was not done."""
        if self.state != "expiring" or self.until is None or now < moment(self.until):
            return self
        return PinnedKey(key=self.key, state="ended", since=self.until, until=self.until)

    @property
    def is_good(self) -> bool:
        """Whether the device may show it: the active one, and the expiring one until its end."""
        return self.state in {"active", "expiring"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is proved about a device at a time. `keys` oldest first; `deeds` all acts on its pins, in their order.

    `words`: of the authority, to the device, for steps that no pin shows. `rows` are what proves all this: verified, so
    that what stands in them may be shown.
    """

    device_id: str
    rows: DeviceRows
    life: Life
    keys: tuple[PinnedKey, ...]
    papers: Papers
    registered_at: str
    completed_at: str | None
    deeds: tuple[Deed, ...]
    words: tuple[Word, ...]

    @property
    def state(self) -> State:
        """Of the device, whatever its keys are by the clock."""
        return self.life.state

    @property
    def good(self) -> tuple[PinnedKey, ...]:
        """Keys that the device may show now."""
        return tuple(each for each in self.keys if each.is_good)


def current(rows: DeviceRows, trusted: TrustedRoot, now: datetime) -> Reading:
    """What the rows prove at this time; UntrustedError, and never a part of it, when anything does not hold."""
    reading, found = judged(rows, trusted, now)
    if found or reading is None:
        raise UntrustedError(found)
    return reading


def require_due(reading: Reading | None, found: Sequence[Finding]) -> Reading:
    """The reading of `judged`, if nothing is wrong but what the registry's signer still owes; UntrustedError."""
    if reading is None or not all(each.due for each in found):
        raise UntrustedError(found)
    return reading


def judged(rows: DeviceRows, trusted: TrustedRoot, now: datetime) -> tuple[Reading | None, list[Finding]]:
    """As `current`, with everything that is wrong instead of the first; the reading is good only if nothing is."""
    known, found = papers(rows, trusted, now)
    if known is None:
        return None, found
    life = lived(rows, known, trusted, now)
    words, wrong = told(rows, trusted)
    found = [*found, *life.found, *_extra(rows, life), *_nonce_findings(rows, life), *wrong]
    done = None if rows.completion is None else str(rows.completion["registered_at"])
    reading = Reading(
        device_id=rows.device_id, rows=rows, life=life.life, keys=_keys(life, rows, done, now), papers=known,
        registered_at=str(rows.pin["registered_at"]), completed_at=done, deeds=tuple(life.deeds),
        words=words,
    )  # fmt: skip
    return reading, found


def _extra(rows: DeviceRows, life: Lived) -> list[Finding]:
    """Revocations of acts that are not there."""
    known = {each.envelope.payload_sha256 for each in life.deeds}
    return [
        Finding("revocations", sha256, f"extra: device {rows.device_id} has no such act")
        for sha256 in sorted(set(rows.revocations) - known)
        if not life.found  # else the act itself was found already
    ]


def _nonce_findings(rows: DeviceRows, life: Lived) -> list[Finding]:
    if len(life.deeds) < len(rows.acts):
        return []  # what the rest has signed is not known, and found already
    missing, extra = life.nonces - rows.nonces, rows.nonces - life.nonces
    return [
        *(Finding("signature_r", each.hex(), f"missing, used by device {rows.device_id}") for each in sorted(missing)),
        *(Finding("signature_r", each.hex(), f"extra, not of device {rows.device_id}") for each in sorted(extra)),
    ]


def _keys(life: Lived, rows: DeviceRows, completed_at: str | None, now: datetime) -> tuple[PinnedKey, ...]:
    """Each key as the newest act has left it."""
    since = completed_at or str(rows.pin["registered_at"])
    state: KeyState = "provisional" if completed_at is None else "active"
    first = life.keys[next(iter(life.keys))]
    held = {first.fingerprint: PinnedKey(key=first, state=state, since=since)}
    for deed in life.deeds:
        expiring = deed.life.expiring
        if deed.repin is not None:
            new = life.keys[deed.repin.fingerprint]
            held[new.fingerprint] = PinnedKey(key=new, state="active", since=deed.at)
        for fingerprint, before in [(name, each.at(moment(deed.at))) for name, each in held.items()]:
            until = expiring.ends_at if expiring is not None and fingerprint == expiring.fingerprint else None
            held[fingerprint] = _after(before, deed, until)
    return tuple(each.at(now) for each in held.values())


def _after(before: PinnedKey, deed: Deed, until: str | None) -> PinnedKey:
    """What an act leaves of a key: the device's newest one is in the device's own state."""
    state: KeyState
    if before.key.fingerprint == deed.life.fingerprint:
        state = deed.life.state
    elif until is not None:
        state = "expiring"
    elif before.is_good:
        state = "revoked" if deed.act.kind in {"revoke", "scrap"} else "ended"
    else:
        return before
    if (state, until) == (before.state, before.until):
        return before
    ended = deed.at if state in {"ended", "revoked", "scrapped"} else until
    return PinnedKey(key=before.key, state=state, since=deed.at, until=ended)
