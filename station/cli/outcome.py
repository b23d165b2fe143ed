"""What has come of a batch so far, told by its events: verdicts, units in work, an interruption. Says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from station.events import AnyEvent, AttemptBegan, BatchFinished, UnitFinished
from station.exits import Exit


@dataclass(slots=True)
class Outcome:
    """What has come of the batch so far; stands when the log's publication fails at its end."""

    finished: BatchFinished | None = None
    units: list[UnitFinished] = field(default_factory=list)
    codes: list[Exit] = field(default_factory=list)
    in_work: set[str] = field(default_factory=set)
    under_way: int | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal has come; `under_way` units were in work then."""
        return self.under_way is not None

    def interrupt(self) -> None:
        """A signal has come; the first one counts."""
        if self.under_way is None:
            self.under_way = len(self.in_work)
            self.codes.append(Exit.INTERRUPTED)

    def take(self, event: AnyEvent) -> AnyEvent:
        """Count one event in; the end of a batch comes back with its interruption, if there was one."""
        match event:
            case AttemptBegan():
                self.in_work.add(event.slot)
            case UnitFinished():
                self.in_work.discard(event.slot)
                self.units.append(event)
            case BatchFinished():
                self.codes.append(Exit(event.exit_code))
                if self.under_way is not None:
                    event = msgspec.structs.replace(
                        event, interrupted=True, under_way=self.under_way, exit_code=Exit.INTERRUPTED
                    )
                self.finished = event
        return event
