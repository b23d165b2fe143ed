"""All services of a registry with people, over one database: for tests that ask over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from registry.access.opening import open_door
from registry.clock import utc_now
from registry.database import Database
from registry.leases.service import LeaseService
from registry.orders.service import OrderService
from registry.people.roster import RosterService
from registry.people.service import People
from registry.pins.acts import ActService
from registry.pins.batch import PinBatch
from registry.pins.proposals import Proposals
from registry.pins.service import PinService
from registry.services import Services
from tests.registry.make import World
from tests.registry.test_api import STATUS


def services_of(
    database: Database, made: World, people: People, roster_signer: Any, *, now: Callable[[], datetime] = utc_now
) -> Services:
    """`now` is the clock of people and rosters; of what is not asked here there is nothing."""
    door, signer = open_door(database, made.trusted.root, people.tokens), made.signer()
    pins = PinService(database, made.trusted, signer)
    return Services(
        pins=pins, acts=ActService(database, made.trusted, signer),
        proposals=Proposals(database), batch=PinBatch(database, made.trusted, signer, pins),
        leases=LeaseService(database, made.trusted, signer), orders=OrderService(database, made.trusted), people=people,
        rosters=RosterService(database, made.trusted, roster_signer, people.accounts, now=now), status=STATUS,
        guard=door.guard, grants=door.grants,
    )  # fmt: skip
