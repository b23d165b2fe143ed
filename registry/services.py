"""All that the registry's routes are given, as one value. Built by `registry.startup`; never decides anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.access.guard import Guard
from registry.access.oauth import Grant, SignedBy
from registry.device_service.relay.client import RelayClient
from registry.leases.service import LeaseService
from registry.limits.rates import Limits
from registry.messages import StatusAnswer
from registry.orders.service import OrderService
from registry.particle.proposing import DoorProposals
from registry.people.roster import RosterService
from registry.people.service import People
from registry.pins.acts import ActService
from registry.pins.batch import PinBatch
from registry.pins.proposals import Proposals
from registry.pins.service import PinService
from registry.signing import Signing
from registry.telemetry.health import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What answers requests. `signing` None: nobody asks whether the signer answers; `limits` None: nobody counts.

    `health` None: nobody looks; `particle` None: the Particle-compatible door is closed, and its routes are not there.
    `signed_by` None: an address that has nothing left gets no token. `relay` None: no device service is named.
    """

    pins: PinService
    acts: ActService
    proposals: Proposals
    batch: PinBatch
    leases: LeaseService
    orders: OrderService
    people: People
    rosters: RosterService
    guard: Guard
    grants: Mapping[str, Grant]
    status: StatusAnswer
    signing: Signing | None = None
    limits: Limits | None = None
    health: Health | None = None
    particle: DoorProposals | None = None
    signed_by: SignedBy | None = None
    relay: RelayClient | None = None
