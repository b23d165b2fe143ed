"""Everybody who may come to the registry's door, each with credentials of the real kind, made on the spot.

Stations and people as the registry knows them, and those whom it must not let in: nobody, tokens that are nobody's or over,
scopes that do not reach, a second factor that is no longer fresh. Holds no assertion.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import httpx2
from sqlalchemy import insert

from registry.access.caller import STATION_SCOPES, Caller, PersonCaller, Role, Scope, StationCaller
from registry.clock import utc_now
from registry.database import Database
from registry.device_service.relay.client import RelayClient
from registry.device_service.relay.messages import Open, Progress
from registry.people import store
from registry.people.roles import GRANTS
from registry.people.service import People
from registry.people.tokens import Tokens
from registry.tables import access_tokens
from tests.registry.access import StationClient, b64, jwk_of, station_of
from tests.registry.make import World, public
from tests.registry.people.crew import CHEAP
from tests.registry.things import Things, both

LONG_AGO = timedelta(days=200)
Headers = Callable[[httpx2.AsyncClient, str, str], "dict[str, str]"]


@dataclass(frozen=True, slots=True)
class Who:
    """One kind of caller: a fresh credential for each request, and what the guard must make of it.

    `caller` None: the guard knows nobody by it. `user` is the person's id, if it is one.
    """

    name: str
    headers: Callable[[str, str], dict[str, str]]
    caller: Caller | None
    station: str = ""
    user: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Cast:
    """All of them, over one registry's database."""

    database: Database
    made: World
    nonce: str = ""
    users: dict[Role, str] = field(default_factory=dict)
    spare: str = ""  # a user on whom administrators act
    things: dict[str, Things] = field(init=False)
    relay: RelayClient | None = None  # of the device service

    def __post_init__(self) -> None:
        self.things = both(self.made)

    @classmethod
    def over(cls, database: Database, made: World) -> Cast:
        cast, people = cls(database, made), People.over(database, "test", cost=CHEAP, badge_cost=CHEAP)
        cast.users = {role: people.accounts.add(role, by="console").user_id for role in Role}
        cast.spare = people.accounts.add(Role.SUPPORT, by="console").user_id
        return cast

    def handshake(self, station: str) -> str:
        """A fresh one that this station has begun for its device."""
        assert self.relay is not None
        device = self.things[station].pinned
        words = {"device_id": str(device.device_id), "job": str(device.job), "protocol": "udp"}
        begun = self.relay.ask(Open(station=station, **words))
        assert isinstance(begun, Progress), begun
        return begun.handshake

    def all(self) -> Iterator[Who]:
        yield Who("nobody", lambda _method, _path: {}, None)
        yield Who(
            "Bearer, nobody's", lambda _method, _path: {"authorization": f"Bearer {secrets.token_urlsafe(32)}"}, None
        )
        yield Who("Basic", lambda _method, _path: {"authorization": "Basic YWRtaW46YWRtaW4="}, None)
        yield from self._stations()
        yield from self._people()

    # ---- stations

    def _stations(self) -> Iterator[Who]:
        for name in ("station-01", "station-02"):
            yield self.station(name, STATION_SCOPES)
        for scope in sorted(STATION_SCOPES):
            yield self.station("station-01", frozenset({scope}))
        over = self.station("station-01", STATION_SCOPES, seconds=-1)
        yield Who("station-01, token over", over.headers, None)
        yield Who(
            "station-01, without a proof", lambda method, path: _without(over.headers(method, path), "dpop"), None
        )
        yield Who("station-01, token as Bearer", self._as_bearer, None)
        yield Who("station-01, token nobody's", lambda method, path: self._dpop("station-01", method, path, ""), None)

    def station(self, name: str, scopes: frozenset[Scope], *, seconds: int = 600) -> Who:
        told = "all scopes" if scopes == STATION_SCOPES else " ".join(sorted(scopes))

        def headers(method: str, path: str) -> dict[str, str]:
            return self._dpop(name, method, path, " ".join(sorted(scopes)), seconds=seconds)

        return Who(f"{name}, {told}", headers, StationCaller(name, scopes), station=name)

    def _dpop(self, name: str, method: str, path: str, scopes: str, *, seconds: int = 600) -> dict[str, str]:
        """A token in the database, and a proof of its key; without scopes no token is there."""
        client = station_of(self.made, name, nonce=self.nonce)
        token = secrets.token_bytes(32)
        if scopes:
            row = {
                "token_sha256": hashlib.sha256(token).digest(), "station": name,
                "client_sha256": public(client.key).fingerprint, "thumbprint": thumbprint(client), "scopes": scopes,
                "expires_at": int(utc_now().timestamp()) + seconds,
            }  # fmt: skip
            with self.database.write() as connection:
                connection.execute(insert(access_tokens), row)
        client.token = b64(token)
        return client.headers(method, path)

    def _as_bearer(self, method: str, path: str) -> dict[str, str]:
        shown = self._dpop("station-01", method, path, " ".join(STATION_SCOPES))
        return {"authorization": shown["authorization"].replace("DPoP", "Bearer")}

    # ---- people

    def _people(self) -> Iterator[Who]:
        for role in Role:
            yield self.session(role)
            yield self.session(role, age=timedelta(minutes=6))
            for scope in sorted(GRANTS[role]):
                yield self.api_token(role, scope)
        over = self.session(Role.ADMINISTRATOR, age=LONG_AGO)
        yield Who("administrator, session over", over.headers, None)

    def session(self, role: Role, *, age: timedelta = timedelta()) -> Who:
        user, fresh = self.users[role], age < timedelta(minutes=5)

        def headers(_method: str, _path: str) -> dict[str, str]:
            with self.database.write() as connection:
                state = store.state(connection, user)
                assert state is not None
                token = Tokens(self.database, now=lambda: utc_now() - age).open_session(connection, state).token
            return {"authorization": f"Bearer {token}"}

        caller = PersonCaller(user_id=user, role=role, second_factor=fresh)
        return Who(f"{role}, {'fresh' if fresh else 'stale'} session", headers, caller, user=user)

    def api_token(self, role: Role, scope: Scope) -> Who:
        """With one scope that the role may give."""
        user, scopes = self.users[role], frozenset({scope})
        tokens = Tokens(self.database)

        def headers(_method: str, _path: str) -> dict[str, str]:
            for each in tokens.of_user(user):
                tokens.withdraw(user, each.token_sha256)
            token = tokens.issue(user, "matrix", scopes, timedelta(days=1)).token
            return {"authorization": f"Bearer {token}"}

        caller = PersonCaller(user_id=user, role=role, second_factor=False, scopes=scopes)
        return Who(f"{role}, API token for {scope}", headers, caller, user=user)

    def token_of(self, user: str) -> str:
        """The SHA-256 of an API token of this user: the only one that holds."""
        tokens = Tokens(self.database)
        for each in tokens.of_user(user):
            tokens.withdraw(user, each.token_sha256)
        tokens.issue(user, "matrix", frozenset({Scope.PINS_READ}), timedelta(days=1))
        return tokens.of_user(user)[0].token_sha256


def thumbprint(client: StationClient) -> str:
    """RFC 7638."""
    canonical = json.dumps(jwk_of(client.dpop), sort_keys=True, separators=(",", ":"))
    return b64(hashlib.sha256(canonical.encode()).digest())


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {each: value for each, value in headers.items() if each != name}
