"""Proposals of the door in the registry's book, beside all others: judged against what is proved about the device.

A key is refused that no act could ever pin: of a device that has no finished pin, of another kind than its order wants,
known of another device, or one that the device had before. Writes nothing but the proposal.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select

from registry.database import Database
from registry.errors import RefusedError
from registry.particle.proposing import SOURCE, Held, Proposal
from registry.particle.words import State, bad_request
from registry.pins.acts import ActService
from registry.pins.acts_store import repinned_for
from registry.pins.proposals import Proposals
from registry.pins.reading import Reading
from registry.tables import pins
from trust.codes import Code
from trust.identity import DeviceId
from trust.keys import PublicKey

_AGAIN = "a key does not come back: have the device make another one"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptProposals:
    """`registry.particle.proposing.Proposals` over acts and the book of proposals."""

    database: Database
    acts: ActService
    book: Proposals

    def propose(self, proposal: Proposal) -> State:
        """Keep it, once a proposer and key."""
        reading = self._changeable(proposal.device)
        if _is_pinned(reading, proposal.key):
            return "pinned"
        _require_kind(reading, proposal.key)
        self._require_new(proposal)
        self.book.propose(
            proposal.device, "repin", _reason(proposal), proposer=proposal.by.user_id, source=SOURCE,
            spki=proposal.key.spki, once=True,
        )  # fmt: skip
        return "proposed"

    def about(self, device: DeviceId) -> tuple[Held, ...]:
        """The active key, and what was proposed lately: each key once."""
        reading = self._known(device)
        pinned = {each.key.fingerprint: Held(each.key.fingerprint, "pinned") for each in reading.good}
        proposed = [each.key for each in self.book.about(device) if each.kind == "repin" and each.key is not None]
        fingerprints = dict.fromkeys(each.fingerprint for each in proposed)
        return (*pinned.values(), *(Held(each, "proposed") for each in fingerprints if each not in pinned))

    def _known(self, device: DeviceId) -> Reading:
        reading = self.acts.find(device)
        if reading is None:
            text = f"no station has pinned device {device} at this registry: its first key comes from a station"
            raise RefusedError(Code.NOT_PINNED, text)
        return reading

    def _changeable(self, device: DeviceId) -> Reading:
        reading = self._known(device)
        if reading.state == "scrapped":
            raise RefusedError(Code.DEVICE_SCRAPPED, f"device {device} is scrapped: no key is pinned for it")
        if reading.state == "provisional":
            text = f"device {device} is still in work at its station: no other key until it is finished"
            raise RefusedError(Code.ACT_CONFLICT, text)
        return reading

    def _require_new(self, proposal: Proposal) -> None:
        key = proposal.key
        same = [pins.c.fingerprint == key.fingerprint, *([pins.c.modulus == key.modulus] if key.modulus else [])]
        with self.database.read() as connection:
            owners = {*connection.scalars(select(pins.c.device_id).where(or_(*same)))}
            owners |= {*repinned_for(connection, key.fingerprint, key.modulus)}
        if owners - {str(proposal.device)}:
            raise RefusedError(Code.KEY_ON_OTHER_DEVICE, f"this key is known of another device: keys repeat; {_AGAIN}")
        if owners:
            raise RefusedError(Code.ACT_CONFLICT, f"this device had this key before: {_AGAIN}")


def _is_pinned(reading: Reading, key: PublicKey) -> bool:
    return any(each.key == key and each.state == "active" for each in reading.keys)


def _require_kind(reading: Reading, key: PublicKey) -> None:
    wanted = reading.papers.order.key_type
    if key.key_type.value != wanted:
        text = f"this device's order wants a key of kind {wanted}, this is {key.key_type.value}"
        raise bad_request("algorithm_mismatch", text)


def _reason(proposal: Proposal) -> str:
    return f"by Particle's tools: {proposal.note}" if proposal.note else "by Particle's tools"
