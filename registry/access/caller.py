"""Who asks, and who may: a station or a person as values, and what a route says of who may use it.

Pure. How a caller proves who he is, is `registry.access.guard`'s; whose objects he may touch is the route's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a person is here for. One a person."""

    OPERATOR = "operator"
    LEAD = "lead"
    ENGINEER = "engineer"
    SUPPORT = "support"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class Scope(StrEnum):
    """What a token lets its holder ask for; a token may have several, a route wants one."""

    PINS_WRITE = "pins:write"
    PINS_READ = "pins:read"
    LEASES_WRITE = "leases:write"
    ROSTER_READ = "roster:read"
    KEYS_PROPOSE = "keys:propose"


STATION_SCOPES = frozenset({Scope.PINS_WRITE, Scope.PINS_READ, Scope.LEASES_WRITE, Scope.ROSTER_READ})
"""All that a station's token can carry."""


@dataclass(frozen=True, slots=True)
class StationCaller:
    """A station of the trust root that has shown its token and the key that the token is bound to."""

    name: str
    scopes: frozenset[Scope]

    @property
    def who(self) -> str:
        """One name for each caller, whatever he is."""
        return f"station {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonCaller:
    """A person who has signed in. `second_factor`: so lately that it counts as fresh.

    `scopes` None: a session of the person's own, good for all that the role may do; else those of an API token.
    """

    user_id: str
    role: Role
    second_factor: bool
    scopes: frozenset[Scope] | None = None

    @property
    def who(self) -> str:
        """One name for each caller, whatever he is."""
        return f"person {self.user_id}"


Caller = StationCaller | PersonCaller


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may use a route. Made by `stations`, `people`, `either`; `PUBLIC` is anybody.

    `roles` empty: no person; `second_factor`: of people, a fresh one is wanted. A scope is wanted of everybody's token
    but a person's own session.
    """

    scope: Scope | None = None
    stations: bool = False
    roles: frozenset[Role] = frozenset()
    second_factor: bool = False

    @property
    def public(self) -> bool:
        """Whether nobody is asked who he is."""
        return not self.stations and not self.roles


PUBLIC = Access()
"""Anybody, unasked."""


def stations(scope: Scope) -> Access:
    """Stations whose token has this scope."""
    return Access(scope=scope, stations=True)


def people(*roles: Role, scope: Scope | None = None, second_factor: bool = False) -> Access:
    """People of these roles. Without a scope no API token will do: only a session."""
    return Access(scope=scope, roles=frozenset(roles), second_factor=second_factor)


def either(scope: Scope, *roles: Role, second_factor: bool = False) -> Access:
    """Stations, and people of these roles."""
    return Access(scope=scope, stations=True, roles=frozenset(roles), second_factor=second_factor)
