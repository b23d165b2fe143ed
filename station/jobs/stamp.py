"""What every event of a station carries: its name, environment and trust root, and the time.

The one maker of events for outbox and store, so that none is without its environment. Never writes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from station.jobs import Job
from trust.statement import Event


def utc_now() -> datetime:
    """The wall clock. Order in the log never depends on it."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Who writes the log; `now` gives an aware datetime."""

    station: str
    environment: str
    root_sha256: str
    now: Callable[[], datetime] = field(default=utc_now, compare=False)

    def event(
        self, kind: str, job: Job | None = None, *, attempt: int = 0, details: Mapping[str, str] | None = None
    ) -> Event:
        """An event of this station, now, of a job or of none."""
        return Event(
            environment=self.environment,
            root_sha256=self.root_sha256,
            station=self.station,
            kind=kind,
            at=self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            order_id=job.order_id if job else "",
            job=str(job.job_id) if job else "",
            device_id=str(job.device_id) if job else "",
            attempt=attempt,
            details=dict(details or {}),
        )
