"""Approved acts on a device's pin that somebody who signs in brings to the registry: a key revoked, a scrap taken back.

Nothing of this station's own changes by them: its signer goes on counting what it has counted, and signs nothing more
for a device that was scrapped. Never approves anything, and believes what was done by the registry's receipt alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from station import config as settings
from station.cloud.devices import Asks, Devices
from station.faults import fault
from station.rework.acts import Asked, judged, read_act
from station.root import load_root
from station.signed_in import SignIn, signed_in
from trust.dsse import Envelope
from trust.pin_act import State
from trust.root import TrustedRoot
from trust.statement import StatementError

Kind = Literal["revoke", "unscrap"]
_LEADS_TO: Final[dict[Kind, frozenset[State]]] = {
    "revoke": frozenset({"revoked", "active"}),  # active: an old key was ended before its time
    "unscrap": frozenset({"active", "revoked"}),
}


@dataclass(frozen=True, slots=True)
class Ready:
    """What was asked for can be brought, as far as one can tell here."""

    asked: Asked
    kind: Kind
    act: Envelope
    root: TrustedRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """It is done, by the registry's receipt: the device's state since then, and whether it was done before."""

    order_id: str
    state: State
    before: bool


def ready(asked: Asked, kind: Kind) -> Ready:
    """Before anybody is asked who he is; UsageError, and the faults of settings and root."""
    _, paths = settings.load(asked.config_file)
    root, act = load_root(paths.root), read_act(asked.act_file)
    judged(act, asked, root, kind)
    return Ready(asked, kind, act, root)


async def bring(what: Ready, who: SignIn) -> Brought:
    """Have the registry do it, as this person. UsageError, and the faults of a registry that refuses or is away."""
    async with signed_in(what.asked.config_file, who) as registry:
        return await done(registry, what)


async def done(asks: Asks, what: Ready) -> Brought:
    """The registry has done this very act. "Make it so"; a Fault, or a leaf error."""
    registry, device = Devices(asks), what.asked.device
    held = await registry.held(device)
    if held is None:
        raise fault("act-refused", f"the registry has no pin of device {device}")
    try:
        before = held.done(what.act, what.root) is not None
        if not before:
            # A lost answer here: the act is done; the same command again finds it so.
            held = await (registry.revoke if what.kind == "revoke" else registry.unscrap)(device, what.act)
        found = held.done(what.act, what.root)
    except StatementError as error:
        raise fault("registry-wrong", str(error)) from error
    if found is None or found.state not in _LEADS_TO[what.kind]:
        raise fault("registry-wrong", f"device {device}: the act {what.kind} is not done, or something else is")
    return Brought(order_id=held.order_id, state=found.state, before=before)
