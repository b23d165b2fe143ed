"""The door put together, where `registry.toml` opens it. Never there by itself: `particle_door = true` must say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from registry.access.day_secrets import DaySecrets
from registry.access.oauth import Grant
from registry.clock import utc_now
from registry.database import Database
from registry.particle.grants import CLIENT, ParticleGrants
from registry.particle.second_factor import SecondFactor
from registry.people.service import People


def with_particle(
    grants: Mapping[str, Grant], database: Database, people: People, *, now: Callable[[], datetime] = utc_now
) -> Mapping[str, Grant]:
    """The token endpoint's grants, and this door's beside them."""
    second = SecondFactor(DaySecrets(database).of, now)
    ours = ParticleGrants(people=people, second=second, stations=grants[CLIENT], now=now)
    return {**grants, **ours.table()}
