"""`station run --dry-run`: what a batch does before its first device, except writing."""

from __future__ import annotations

from station import wiring
from station.agreement import known_signer
from station.disk import enough_disk
from station.events import Rehearsed
from station.faults import LineStop, fault
from station.finding import NotReadyError
from station.greeting import greet
from station.line import Clock
from station.plan import Plan
from station.promised import promised


async def rehearse(plan: Plan, names: tuple[str, ...] = ()) -> Rehearsed:
    """What `station run` does before the first device, except writing; raises the fault that would stop it."""
    slots = plan.chosen(names)
    proofs = promised(plan.work, slots)
    enough_disk(plan.paths.database.parent, plan.config.limits.disk_reserve_mb)
    signer = wiring.open_signer(plan.paths)
    cloud = wiring.open_cloud(plan.config, plan.root, signer)
    try:
        try:
            await wiring.rehearse_ledger(plan, await known_signer(plan, signer))
        except LineStop:  # a batch may have ended between the two looks
            await wiring.rehearse_ledger(plan, await known_signer(plan, signer))
        await greet(cloud, plan.root, plan.work)
    except NotReadyError as error:
        raise fault("setup", str(error)) from error
    finally:
        await cloud.close()
        await signer.close()
    taken = tuple(slot.name for slot in slots)
    return Rehearsed(
        at=Clock().utc(), order=plan.work.order_id, slots=taken, proofs=proofs,
        handshake_waivers=plan.work.handshake_waivers,
    )  # fmt: skip
