"""What two stations, their signers and the registry hold of one device, and how it may change when the unit moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.faults import disk
from tests.faults.insertion import DEVICE
from tests.faults.trial import Trial

FIRST, SECOND = "st-01", "st-02"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ashore:
    """At one moment. `signed` and `counted` by station; the rest from `sent_out` on is the first station's.

    `told` is the fault in its newest verdict.
    """

    pinned: bool
    state: str
    pinned_by: str
    signed: dict[str, int]
    counted: dict[str, int]
    sent_out: bool
    waiting: list[tuple[str, str]]
    refused: bool
    passed: bool
    told: str

    @classmethod
    def of(cls, trial: Trial) -> Ashore:
        place = trial.place
        device = disk.device(place / f"{DEVICE}.flash").device_id
        ledger = place / f"{FIRST}.db"
        jobs = disk.jobs(ledger, device)
        records = disk.records(ledger, jobs[0]) if jobs else {}
        statements = disk.query(place / "registry.db", "SELECT statement FROM pins")
        count = "SELECT count(*) FROM statements WHERE kind = 'pin'"
        return cls(
            pinned=bool(statements),
            state=registry_state(place),
            pinned_by=disk.Sealed.of(statements[0][0]).body["station"] if statements else "",
            signed={each: disk.query(place / each / "counters.db", count)[0][0] for each in (FIRST, SECOND)},
            counted={
                each: disk.query(place / each / "counters.db", "SELECT pins FROM orders")[0][0]
                for each in (FIRST, SECOND)
            },
            sent_out="pin" in records,
            waiting=disk.pending(ledger),
            refused="pin-refused" in records,
            passed="completion" in records,
            told=([""] + [each["details"]["code"] for each in disk.events(ledger, "verdict")])[-1],
        )

    def broken(self, later: Ashore) -> list[str]:
        """What of the issue's sentence does not hold, `self` being the moment of the crash."""
        found = []
        if later.state != "active":
            found.append(f"the registry's pin is {later.state}")
        if self.pinned and (later.signed, later.counted) != ({FIRST: 1, SECOND: 0}, {FIRST: 1, SECOND: 0}):
            found.append(f"it was pinned already: signed {later.signed}, counted {later.counted}")
        if later.pinned_by != (FIRST if self.pinned else SECOND):
            found.append(f"pinned by {later.pinned_by}")
        if not self.pinned and later.signed[SECOND] != 1:
            found.append("the second station did not sign")
        if not self.pinned and self.sent_out and not later.refused:
            found.append("the first station's statement was not booked as a loss")
        if later.waiting:
            found.append(f"in the first station's outbox for ever: {later.waiting}")
        return found


def registry_state(place: Path) -> Literal["none", "provisional", "active"]:
    """What the registry says of the device."""
    if disk.query(place / "registry.db", "SELECT 1 FROM completions"):
        return "active"
    return "provisional" if disk.query(place / "registry.db", "SELECT 1 FROM pins") else "none"
