"""How far one job has come, in words, and what to do next: for whoever asks about a device. Reads only.

Must never say *passed* without a completion on record, and takes nobody's word but the ledger's.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from station.events import Verdict
from station.fault_table import TABLE
from station.held import last_verdict
from station.jobs import Jobs, OnRecord, RecordKind
from trust.dsse import Envelope

# The furthest record decides; the words of the rest are those of the unit's last verdict.
_ENDS = {
    RecordKind.COMPLETION_RECEIPT: ("passed", "active in the cloud"),
    RecordKind.COMPLETION_REFUSED: (
        "passed",
        "safe at the station, but the registry refused its completion: call the line engineer",
    ),
    RecordKind.COMPLETION: ("passed", "safe at the station; the registry has not acknowledged its completion yet"),
    RecordKind.PIN_REFUSED: ("lost", f"{TABLE['pin-refused'].sentence} {TABLE['pin-refused'].remedy}"),
}
_LEFT = "the station ended while it was in work: insert it again, the flow goes on where it was"
_NAMES = {Verdict.HELD: "held", Verdict.QUARANTINE: "quarantined", Verdict.FAIL: "in work", Verdict.PASS: "in work"}


class JobState(msgspec.Struct, frozen=True, kw_only=True):
    """`state` as `station ledger report` counts it; `text` says why, and what to do next."""

    state: str
    text: str


async def job_state(jobs: Jobs, known: OnRecord) -> JobState:
    """Of one job. Raises LedgerError."""
    end = _end(known.records)
    if end is not None:
        return end
    pinned = RecordKind.PIN in known.records
    told = await last_verdict(jobs, known)
    if told is None:
        return JobState(state="held" if pinned else "in work", text=_LEFT)
    verdict, code, step = (told.details.get(each, "") for each in ("verdict", "code", "step"))
    row = TABLE.get(code)
    text = f"{verdict} at {step}: {code}. {row.sentence} {row.remedy}" if row else f"{verdict} at {step}: {code}"
    return JobState(state=_NAMES[Verdict(verdict)] if verdict in set(Verdict) else verdict, text=text)


def _end(records: Mapping[RecordKind, Envelope]) -> JobState | None:
    found = next((words for kind, words in _ENDS.items() if kind in records), None)
    return None if found is None else JobState(state=found[0], text=found[1])
