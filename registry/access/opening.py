"""Everything about access put together: the guard of all routes, and the grants of the token endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from registry.access.client_credentials import GRANT_TYPE, ClientCredentials
from registry.access.day_secrets import DaySecrets
from registry.access.guard import Guard, NoPeople, PeopleTokens
from registry.access.nonces import Nonces
from registry.access.oauth import Grant, SignedBy
from registry.access.tokens import Tokens
from registry.clock import utc_now
from registry.database import Database
from trust.root import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Who is let in, and how one gets a token."""

    guard: Guard
    grants: Mapping[str, Grant]
    signed_by: SignedBy | None = None


def open_door(
    database: Database, root: Root, people: PeopleTokens | None = None, *, now: Callable[[], datetime] = utc_now
) -> Door:
    """The door of one registry process."""
    tokens = Tokens(database, root, Nonces(DaySecrets(database).of, now), now=now)
    stations = ClientCredentials(tokens, root, now=now)
    guard = Guard(tokens, people or NoPeople())
    return Door(guard=guard, grants={GRANT_TYPE: stations}, signed_by=stations.signed_by)
