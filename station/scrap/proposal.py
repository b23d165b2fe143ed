"""A person at the station proposes that a device is scrapped: signed in at the registry for one command.

A proposal changes nothing: those who may approve it sign an act of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from station.cloud.devices import Devices
from station.cloud.held import Held
from station.faults import fault
from station.signed_in import SignIn, signed_in
from station.usage import UsageError
from trust.act import Reason
from trust.identity import DeviceId
from trust.printable import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """The proposal, the device's state as the registry says it, and what an approver does next."""

    proposal: str
    state: str
    next: str


def require_reason(reason: str) -> None:
    """UsageError for a reason that the registry would refuse: before a one-time code is used up for it."""
    try:
        fits = msgspec.convert(reason, Reason).isprintable()
    except msgspec.ValidationError:
        fits = False
    if not fits:
        raise UsageError("--reason: 8 to 200 characters of plain text on one line, for auditors to read years later")


async def propose_scrap(config_file: Path, device: DeviceId, reason: str, who: SignIn) -> Proposed:
    """Propose it; UsageError when the person is not known or may not, and the faults of a registry that is away."""
    require_reason(reason)
    async with signed_in(config_file, who) as asks:
        registry = Devices(asks)
        held = await registry.held(device)
        if held is None:
            raise fault("act-refused", f"the registry has no pin of device {device}")
        proposal = await registry.propose(device, "scrap", reason)
    return Proposed(proposal=proposal, state=held.state, next=_next(device, held))


def _next(device: DeviceId, held: Held) -> str:
    """The approver's command; the fingerprint is the registry's word, which the approver compares with his own."""
    key = "FINGERPRINT" if held.newest is None else printable(held.newest.fingerprint, 64)
    was = "" if held.state == "active" else f" --was {held.state}"
    return (
        f"station-signer device new {device} --root ROOT --fingerprint {key} --scrap{was} --reason TEXT --out act.json"
    )
