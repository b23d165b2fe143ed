"""What the door asks of whoever keeps proposals: a key that somebody would like pinned, for authorised people to see.

A proposal is not a pin: the device must show that it holds the key, over the registry's challenge, and an act that two
people have approved must name it. Nothing here replaces a key that is pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from registry.access.caller import PersonCaller
from registry.particle.words import State
from trust.identity import DeviceId
from trust.keys import PublicKey

SOURCE: Final = "particle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A key that somebody proposes. `note` is what the client said beside it, believed for nothing."""

    device: DeviceId
    key: PublicKey
    by: PersonCaller
    note: str


@dataclass(frozen=True, slots=True)
class Held:
    """A key of a device by its fingerprint, and what it is to this registry."""

    fingerprint: str
    state: State


class DoorProposals(Protocol):
    """Proposals of keys. The same one again changes nothing.

    Raises RefusedError: NOT_PINNED for a device that no station has pinned, DEVICE_SCRAPPED, ACT_CONFLICT,
    KEY_ON_OTHER_DEVICE; and what a reader of the device raises.
    """

    def propose(self, proposal: Proposal) -> State:
        """`proposed`, or `pinned` if this very key is the device's active one: then nothing is kept."""

    def about(self, device: DeviceId) -> tuple[Held, ...]:
        """The pinned key, and those that were proposed lately."""
