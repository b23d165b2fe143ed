"""Before a route's work: who asks, and whether he may. The one door that all routes have.

Stations show `Authorization: DPoP TOKEN` and a proof of the key that the token is bound to (RFC 9449 §7), people
`Authorization: Bearer TOKEN` (RFC 6750). Whose objects the caller may touch is the route's to say. Keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry.access.caller import Access, Caller, PersonCaller, Scope, StationCaller
from registry.access.denied import Headers, bearer_challenge, dpop_challenge, forbidden, unknown
from trust.codes import Code

_FRESH_S = 300  # what a person is told in RFC 9470's max_age


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """What of a request tells who asks. `path` as it was sent, without query; header values in their order.

    `address`: from where, as far as the server knows.
    """

    method: str
    path: str
    authorization: tuple[str, ...] = ()
    dpop: tuple[str, ...] = ()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who asks (None: nobody was asked who he is), and what goes with the answer."""

    caller: Caller | None
    headers: Headers = ()


class StationTokens(Protocol):
    """Tokens of stations, each bound to a key."""

    def caller(self, token: str, heading: Heading) -> tuple[StationCaller, Headers]:
        """Who holds token and key; DeniedError otherwise. A proof is good once."""

    def nonce(self) -> str:
        """For the next proof."""


class PeopleTokens(Protocol):
    """Sessions and API tokens of people."""

    def caller(self, token: str) -> PersonCaller | None:
        """Whose token it is; None if it is nobody's, over, or withdrawn."""


class NoPeople:
    """`PeopleTokens` of a registry that knows nobody."""

    def caller(self, token: str) -> PersonCaller | None:  # noqa: ARG002 - it is nobody's
        """Nobody."""
        return None


class Guard:
    """Knows callers by their tokens. Safe to call from many threads; waits for the database."""

    def __init__(self, stations: StationTokens, people: PeopleTokens) -> None:
        self._stations = stations
        self._people = people

    def admit(self, access: Access, heading: Heading) -> Admitted:
        """Who asks, if he may use the route; DeniedError (401, 403) otherwise."""
        if access.public:
            return Admitted(None)
        scheme, token = self._credential(access, heading)
        if scheme == "dpop":
            station, headers = self._stations.caller(token, heading)
            require(access, station)
            return Admitted(station, headers)
        person = self._people.caller(token) if scheme == "bearer" else None
        if person is None:
            text = "this token is nobody's, or over: sign in again"
            raise unknown(Code.ACCESS_TOKEN_INVALID, text, [bearer_challenge("invalid_token")])
        require(access, person)
        return Admitted(person)

    def _credential(self, access: Access, heading: Heading) -> tuple[str, str]:
        """Scheme, in lower case, and token."""
        if len(heading.authorization) == 1:
            scheme, _, token = heading.authorization[0].partition(" ")
            if token and scheme.lower() in {"dpop", "bearer"}:
                return scheme.lower(), token
        challenges = ([dpop_challenge()] if access.stations else []) + ([bearer_challenge()] if access.roles else [])
        text = "say who you are: one Authorization header with an access token (stations: DPoP, people: Bearer)"
        raise unknown(Code.ACCESS_TOKEN_NEEDED, text, challenges, self._stations.nonce() if access.stations else None)


def require(access: Access, caller: Caller) -> None:
    """The caller may use such a route; DeniedError (403, or 401 where signing in once more would help)."""
    if isinstance(caller, StationCaller):
        _require_kind(access.stations, f"stations, as {caller.name} is one")
        _require_scope(access, caller.scopes, dpop_challenge)
        return
    _require_kind(caller.role in access.roles, f"people of role {caller.role}")
    if caller.scopes is not None:
        _require_scope(access, caller.scopes, bearer_challenge)
    if access.second_factor and not caller.second_factor:
        challenge = bearer_challenge("insufficient_user_authentication", max_age=str(_FRESH_S))
        raise unknown(Code.SECOND_FACTOR_NEEDED, "this wants a second factor just given: sign in again", [challenge])


def _require_kind(allowed: bool, who: str) -> None:  # noqa: FBT001 - the answer to a question
    if not allowed:
        raise forbidden(Code.NOT_AUTHORISED, f"not open to {who}")


def _require_scope(access: Access, held: frozenset[Scope], challenge: Callable[..., str]) -> None:
    """RFC 6750 §3.1. A route without a scope takes a person's own session only."""
    if access.scope is None:
        raise forbidden(Code.SCOPE_MISSING, "no access token will do here: sign in yourself")
    if access.scope not in held:
        text = f"the access token lacks scope {access.scope}"
        raise forbidden(Code.SCOPE_MISSING, text, challenge("insufficient_scope", scope=access.scope.value))
