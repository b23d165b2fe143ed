"""What the registry holds about one device, as a value. Never decides anything."""

from __future__ import annotations

from dataclasses import dataclass

from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.pin_act import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A stored statement, when the registry took it (UTC, RFC 3339), and the receipt for it."""

    statement: Envelope
    registered_at: str
    receipt: Envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """A device's pin and, once finished, its completion. `life`: what the newest act on its pins made of it, if any.

    `later`: a key that it got since, only where that is what stands against a statement.
    """

    device: DeviceId
    pin: Entry
    completion: Entry | None = None
    life: State | None = None
    later: Entry | None = None

    @property
    def state(self) -> State:
        """A completion makes the pin active, an act makes it otherwise."""
        return self.life or ("active" if self.completion else "provisional")

    @property
    def history(self) -> tuple[tuple[State, Entry], ...]:
        """Each state the pin has had, oldest first, with the statement that led to it."""
        first: tuple[State, Entry] = ("provisional", self.pin)
        return (first, ("active", self.completion)) if self.completion else (first,)
