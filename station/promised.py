"""What proof of the cloud's side the units of a batch will get, by order and slots: known before the first is touched.

Pure. The flow does what is promised here, or stops; what was done, the record says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from fixtures.device import Service
from fixtures.slot import SlotConfig
from fixtures.slots import tunnels
from station.faults import fault
from trust.order import WorkOrder
from trust.statement import Waiver

Proof = Literal["handshake-tcp", "handshake-udp", "no-tunnel", "not-asked"]


def promised(work: WorkOrder, slots: Iterable[SlotConfig]) -> tuple[Proof, ...]:
    """For each slot; the fault `setup` where the order wants a handshake that the slot's family cannot have."""
    if not work.handshakes:
        return tuple("not-asked" for _ in slots)
    service = Service(work.service)
    found: list[Proof] = []
    for slot in slots:
        if service in tunnels(slot):
            found.append("handshake-tcp" if service is Service.TCP else "handshake-udp")
        elif "no-tunnel" in work.handshake_waivers:
            found.append("no-tunnel")
        else:
            text = f"order {work.order_id} wants a live handshake over {service.value} of each unit, and family"
            remedy = "serve other slots, or have an order made whose handshake_waivers has no-tunnel"
            raise fault("setup", f"{text} {slot.family!r} of slot {slot.name} cannot tunnel: {remedy}")
    return tuple(found)


def in_words(proof: Proof, waivers: Collection[Waiver] = ()) -> str:
    """For people: what stands for a unit and the cloud having met; `waivers` are what the order lets stand for it."""
    match proof:
        case "handshake-tcp" | "handshake-udp":
            sure = f"a live handshake of each unit with the cloud, over {proof.removeprefix('handshake-')}"
            away = "; if the device service is away: none (service-away)"
            return f"{sure}{away}" if "service-away" in waivers else sure
        case "no-tunnel":
            return "no handshake: the device family cannot tunnel, and the order lets that stand (no-tunnel)"
        case "not-asked":
            return "no handshake: the order asks for none"
