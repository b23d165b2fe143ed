"""The authorisation matrix: every operation of the OpenAPI document x everybody x own and other's object.

What the guard must say comes from each route's declaration; what must come of an object, from the table of
`tests.registry.matrix_rows`. Holds no assertion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from registry.access.caller import STATION_SCOPES, Access, StationCaller
from registry.device_service.relay.client import RelayClient
from registry.routes import ROUTES
from registry.routes.route import Route
from registry.settings import Home
from registry.startup import open_registry
from tests.registry.access import station_of
from tests.registry.approved import approved_world
from tests.registry.cast import Cast, Who
from tests.registry.device_service.relayed import desk_of_plant
from tests.registry.fuzzing import LINES, Registry
from tests.registry.running import make_plant
from tests.registry.test_api import pin_body

Operation = tuple[str, str]
"""Method and path as declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One request's parts beside who asks."""

    path: str
    body: bytes | None = None
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is asked of an operation about one's own object and about another's, and what must come of it once the
    guard has let the caller through: "200", or a status and a code. People have a word of their own where it differs.
    """

    asking: Callable[[Cast, Who, bool], Asking]
    own: str
    other: str
    people_own: str | None = None
    people_other: str | None = None

    def wanted(self, who: Who, *, mine: bool) -> str:
        if who.user:
            word = self.people_own if mine else self.people_other
            if word is not None:
                return word
        return self.own if mine else self.other


def of_guard(access: Access, who: Who) -> str | None:
    """What the guard must answer by the declaration alone; None if it lets the caller through. Written out anew here."""
    caller = who.caller
    if not access.stations and not access.roles:
        return None
    if caller is None:
        return "401"
    if isinstance(caller, StationCaller):
        if not access.stations:
            return "403 not-authorised"
        return None if access.scope in caller.scopes else "403 scope-missing"
    if caller.role not in access.roles:
        return "403 not-authorised"
    if caller.scopes is not None and access.scope not in caller.scopes:
        return "403 scope-missing"
    return "401 second-factor-needed" if access.second_factor and not caller.second_factor else None


@dataclass(frozen=True, slots=True)
class Cell:
    """One question and what came of it."""

    operation: Operation
    who: str
    mine: bool
    wanted: str
    found: str

    @property
    def right(self) -> bool:
        return self.found == self.wanted or (self.wanted == "401" and self.found.startswith("401 "))

    def __str__(self) -> str:
        return f"{' '.join(self.operation)} by {self.who}, {'own' if self.mine else 'other'}: {self.found}, not {self.wanted}"


def cells(
    registry: Registry, cast: Cast, rows: Mapping[Operation, Row], declared: Iterable[Route] = ROUTES
) -> list[Cell]:
    """All of them, asked."""
    access = {(each.method, each.path): each.access for each in declared}

    async def ask(client: httpx2.AsyncClient) -> list[Cell]:
        await _know(client, cast)
        return [
            await _cell(client, cast, operation, row, access[operation], who, mine)
            for operation, row in rows.items() for who in cast.all() for mine in (True, False)
        ]  # fmt: skip

    return asyncio.run(registry.with_client(ask))


async def _cell(
    client: httpx2.AsyncClient, cast: Cast, operation: Operation, row: Row, access: Access, who: Who, mine: bool
) -> Cell:
    asking = row.asking(cast, who, mine)
    headers = who.headers(operation[0], asking.path)
    if asking.body is not None:
        headers["content-type"] = asking.content_type
    response = await client.request(operation[0], asking.path, content=asking.body, headers=headers)
    wanted = of_guard(access, who) or row.wanted(who, mine=mine)
    return Cell(operation, who.name, mine, wanted, _word(response))


def _word(response: httpx2.Response) -> str:
    if response.headers["content-type"] == LINES and (error := response.json()["error"]) is not None:
        return f"{response.status_code} {response.json()['status']} {error['code']}"
    if response.status_code < 400:
        return str(response.status_code)
    said = response.json()
    code = said["error"]["code"] if isinstance(said["error"], dict) else said.get("code", said["error"])
    return f"{response.status_code} {code}"


async def _know(client: httpx2.AsyncClient, cast: Cast) -> None:
    """A nonce for proofs, as any station gets one."""
    known = station_of(cast.made)
    await known.sign_in(client)
    cast.nonce = known.nonce or ""


async def _pin(client: httpx2.AsyncClient, cast: Cast) -> None:
    """Each station's device, so that there is an object to ask for."""
    await _know(client, cast)
    for station, things in cast.things.items():
        path, body = f"/v1/pins/{things.pinned.device_id}", pin_body(things.statement, things.order)
        headers = cast.station(station, STATION_SCOPES).headers("PUT", path)
        response = await client.put(path, content=body, headers=headers)
        assert response.status_code == 200, response.text


def operations(registry: Registry) -> set[Operation]:
    """Of the document."""
    return {
        (method.upper(), path) for path, methods in registry.document()["paths"].items() for method in methods
    }  # fmt: skip


@contextmanager
def opened(place: Path, rate_factor: float = 0.0, *, door: bool = False) -> Iterator[tuple[Registry, Cast]]:
    """A registry whose root names people, and everybody at its door."""
    plant = make_plant(place, approved_world)
    config = plant.directory / "registry.toml"
    config.write_text(
        config.read_text()
        .replace("rate_factor = 1.0", f"rate_factor = {rate_factor}")
        .replace("particle_door = false", f"particle_door = {str(door).lower()}")
    )
    ready = open_registry(Home.load(plant.directory), plant.made.trusted, plant.made.signer())
    ready.health.look()
    registry, cast = Registry(ready.app, plant.made), Cast.over(ready.database, plant.made)
    asyncio.run(registry.with_client(lambda client: _pin(client, cast)))
    try:
        with desk_of_plant(plant, ready.database):
            cast.relay = RelayClient(plant.directory / "run" / "devices.sock")
            yield registry, cast
    finally:
        ready.database.close()
