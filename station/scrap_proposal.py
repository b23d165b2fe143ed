"""A person at the station proposes that a device is scrapped: signed in at the registry for one command.

A proposal changes nothing: those who may approve it sign an act of their own. Never keeps what was typed, but for the
id, with what the registry has given this machine for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from station import config as settings
from station import known_here, wiring
from station.cloud import CloudRefusedError
from station.cloud.devices import Devices, Held
from station.cloud.person import REFUSES_PERSON, Person
from station.faults import fault
from station.leaves import LEAF_ERRORS, classify
from station.root import load_root
from station.usage import UsageError
from trust.codes import Code
from trust.identity import DeviceId
from trust.printable import printable

_SHOWN = 200
_WHO = REFUSES_PERSON | {Code.STATEMENT_INVALID}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """What was typed; in no text of ours."""

    user_id: str
    password: str = field(repr=False)
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """The proposal, the device's state as the registry says it, and what an approver does next."""

    proposal: str
    state: str
    next: str


async def propose_scrap(config_file: Path, device: DeviceId, reason: str, who: SignIn) -> Proposed:
    """Propose it; UsageError when the person is not known or may not, and the faults of a registry that is away."""
    config, paths = settings.load(config_file)
    root = load_root(paths.root)
    person = Person()
    cloud = wiring.open_registry(config, root, person)
    try:
        known = known_here.shown(paths.database, who.user_id)
        async with person.signed_in(cloud, who.user_id, who.password, who.code, known):
            known_here.keep(paths.database, who.user_id, person.device)
            registry = Devices(cloud)
            held = await registry.held(device)
            if held is None:
                raise fault("act-refused", f"the registry has no pin of device {device}")
            proposal = await registry.propose(device, "scrap", reason)
    except CloudRefusedError as error:
        if error.code in _WHO:
            raise UsageError(f"{error.code.value}: {printable(str(error), _SHOWN)}") from error
        raise classify(error) from error
    except LEAF_ERRORS as error:
        raise classify(error) from error
    finally:
        await cloud.close()
    return Proposed(proposal=proposal, state=held.state, next=_next(device, held))


def _next(device: DeviceId, held: Held) -> str:
    """The approver's command; the fingerprint is the registry's word, which the approver compares with his own."""
    key = "FINGERPRINT" if held.newest is None else printable(held.newest.fingerprint, 64)
    was = "" if held.state == "active" else f" --was {held.state}"
    return (
        f"station-signer device new {device} --root ROOT --fingerprint {key} --scrap{was} --reason TEXT --out act.json"
    )
