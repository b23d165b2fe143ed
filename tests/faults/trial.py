"""One trial: a copy of a plant, children one after the other on it, and the verdict on the disks at the end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from station.audit import audit
from station.fault_table import TABLE
from tests.faults import disk
from tests.faults.insertion import DEVICE, Insertion, Outcome
from tests.faults.invariants import Scene, violations
from tests.faults.points import KILLS
from tests.faults.rig import Rig

_VERDICTS = {"PASS", "FAIL", "HELD", "QUARANTINE"}


@dataclass(slots=True)
class Trial:
    """`name` heads each violation; `keys_seen` and `logs` are what the children left behind, one after the other."""

    rig: Rig
    name: str
    place: Path
    keys_seen: frozenset[str] = frozenset()
    logs: tuple[tuple[str, list[bytes]], ...] = ()
    found: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, rig: Rig, name: str, source: Trial | None = None) -> Trial:
        """A trial on the template, or one that goes on where another stands."""
        if source is None:
            return cls(rig, name, rig.copy(rig.template))
        return cls(rig, name, rig.copy(source.place), source.keys_seen, source.logs)

    def insert(self, insertion: Insertion = Insertion()) -> Outcome:  # noqa: B008 - frozen
        """One insertion; what it says must be one of the named verdicts."""
        kills = insertion.plan is not None and insertion.plan.mode in KILLS
        outcome = (self.rig.child if kills else self.rig.here)(self.place, insertion)
        found = disk.device(self.place / f"{DEVICE}.flash").fingerprint
        self.keys_seen |= {found} if found else set()
        ledger = self.place / f"{insertion.station}.db"
        self.logs = (*self.logs, (insertion.station, disk.entries(ledger)))
        if not outcome.killed and not insertion.only_outbox:
            self._check_verdict(outcome, ledger)
        return outcome

    def wants(self, holds: object, sentence: str) -> None:
        """A violation of its own kind unless it holds."""
        if not holds:
            self.found.append(sentence)

    def finish(self, *, passed: bool, replaced: bool = False, stations: tuple[str, ...] | None = None) -> list[str]:
        """All violations, each with the trial's name; the copy is gone afterwards."""
        scene = Scene(
            place=self.place, root=self.rig.plant.root, work=self.rig.plant.work,
            stations=stations or self.rig.stations, keys_seen=self.keys_seen,
            logs_before={name: [log for each, log in self.logs if each == name] for name, _ in self.logs},
            replaced_on_purpose=replaced, passed=passed,
        )  # fmt: skip
        found = [f"{self.name}: {each}" for each in (*self.found, *violations(scene), *self._audit(scene))]
        shutil.rmtree(self.place)
        return found

    def drop(self) -> None:
        """The copy is not needed any more; what it found itself is not lost."""
        assert self.found == [], self.found
        shutil.rmtree(self.place)

    def _audit(self, scene: Scene) -> list[str]:
        """The product's own audit finds nothing, and a checkpoint covers the whole log."""
        found = []
        for station in scene.stations:
            with self.rig.ledger(self.place, station) as ledger:
                report = audit(ledger, scene.root, station)
            found += [f"audit of {station}: {each}" for each in report.findings]
            if report.covered != report.leaves:
                found.append(f"audit of {station}: {report.covered} of {report.leaves} leaves are under a checkpoint")
        return found

    def _check_verdict(self, outcome: Outcome, ledger: Path) -> None:
        self.wants(not outcome.crashed, f"the station ended without a verdict: {outcome.crashed}")
        self.wants(outcome.crashed or outcome.verdict in _VERDICTS, f"no named verdict: {outcome}")
        self.wants(outcome.code in {"", *TABLE}, f"no named fault: {outcome}")
        self.wants(outcome.code != "internal", f"a bug of the station: {outcome}")
        passed = outcome.verdict == "PASS"
        device = disk.device(self.place / f"{DEVICE}.flash").device_id
        done = disk.is_completed(ledger, device) or disk.query(self.place / "registry.db", "SELECT 1 FROM completions")
        self.wants(not passed or done, "PASS without a completion on disk")
        self.wants(passed or outcome.exit_code or outcome.crashed, f"exit code 0 without PASS: {outcome}")
