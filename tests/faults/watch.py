"""Looks at the disk before an effect leaves the station: what must be durable first, is.

Its findings go to a file that outlives a killed process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from station.jobs import RecordKind
from tests.faults import disk


@dataclass(frozen=True, slots=True)
class Watch:
    """What must be on disk before an effect; `findings` is appended to, one line each."""

    ledger: Path
    findings: Path
    on: bool = True

    def job(self, job: str) -> None:
        self._check(
            lambda: disk.has_job(self.ledger, job), f"a command changed the device before job {job} was durable"
        )

    def record(self, kind: RecordKind, payload: bytes | None, job: str, before: str) -> None:
        wanted = f"{before} before {kind.value} was durable"
        self._check(lambda: disk.has_record(self.ledger, job, kind.value, payload), wanted)

    def intended(self, before: str) -> None:
        """Of the one device of the campaign: its intent, or the statement that was taken over."""
        kinds = f"'{RecordKind.INTENT.value}', '{RecordKind.PIN.value}'"
        self._check(
            lambda: bool(disk.query(self.ledger, f"SELECT 1 FROM records WHERE kind IN ({kinds})")),
            f"{before} before the intent was durable",
        )

    def completed(self, device: str) -> None:
        registry = self.ledger.with_name("registry.db")  # a unit that was finished elsewhere has its completion there
        done = "SELECT 1 FROM completions WHERE device_id = ?"
        self._check(
            lambda: disk.is_completed(self.ledger, device) or bool(disk.query(registry, done, device)),
            f"green before the completion of {device} was durable",
        )

    def note(self, finding: str) -> None:
        with self.findings.open("a") as out:
            out.write(f"{finding}\n")

    def _check(self, holds: Callable[[], bool], finding: str) -> None:
        if self.on and not holds():
            self.note(finding)
