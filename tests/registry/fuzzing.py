"""Requests made from the registry's OpenAPI document by Schemathesis, and from valid bodies that were twisted.

Asks the application as `serve` builds it, with real credentials where a caller has some. Each answer is held against the
document; what does not fit, and every 5xx, is a problem. Holds no assertion.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp

from registry.access.caller import Role
from registry.database import Database
from registry.people import store
from registry.people.service import People
from registry.settings import Home
from registry.startup import open_registry
from tests.registry.access import StationClient, station_of
from tests.registry.device_service.relayed import desk_of_plant
from tests.registry.living import Living, living
from tests.registry.make import World
from tests.registry.people.crew import CHEAP
from tests.registry.running import make_plant
from tests.registry.seeds import Seeds, twisted

TRUE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
LINES = "application/x-ndjson"


@schemathesis.serializer(LINES)
def _as_lines(_context: Any, value: Any) -> bytes:
    """One line, or two where it is short."""
    line = value if isinstance(value, bytes) else json.dumps(value).encode()
    return b"\n".join([line] * (1 + (len(line) < 2_000)))


@schemathesis.deserializer(LINES)
def _of_a_line(_context: Any, response: Any) -> Any:
    """Of an answer that was cut into its lines: `parts`."""
    return json.loads(response.content)


Ask = Callable[[httpx2.AsyncClient, str, str, dict[str, Any]], Awaitable[httpx2.Response]]
"""One caller: sends a request as itself."""
_OWN = {"authorization", "dpop"}
_NOBODY = 401
_SHARES = {"stranger": 0.1, "station": 0.5, "engineer": 0.3, "administrator": 0.2}  # of the requests to an operation


async def stranger(client: httpx2.AsyncClient, method: str, url: str, options: dict[str, Any]) -> httpx2.Response:
    return await client.request(method, url, **options)


def as_station(station: StationClient) -> Ask:
    """With its token, and a proof for the very path that is asked."""

    async def ask(client: httpx2.AsyncClient, method: str, url: str, options: dict[str, Any]) -> httpx2.Response:
        path = httpx2.URL(url).raw_path.split(b"?")[0].decode()
        headers = {name: value for name, value in options.get("headers", {}).items() if name.lower() not in _OWN}
        for _ in range(3):  # its nonce may be an old one by now, its token over
            if station.token is None:
                await station.sign_in(client)
            shown = headers | station.headers(method, path)
            response = await client.request(method, url, **options | {"headers": shown})
            station.nonce = response.headers.get("dpop-nonce", station.nonce)
            if response.status_code != _NOBODY:
                break
            if b'"access-token-invalid"' in response.content:
                station.token = None
        return response

    return ask


def as_person(session: Callable[[], str]) -> Ask:
    """With a session of its own for each request: some of them end it."""

    async def ask(client: httpx2.AsyncClient, method: str, url: str, options: dict[str, Any]) -> httpx2.Response:
        headers = {name: value for name, value in options.get("headers", {}).items() if name.lower() not in _OWN}
        return await client.request(
            method, url, **options | {"headers": headers | {"authorization": f"Bearer {session()}"}}
        )

    return ask


@dataclass(slots=True)
class Registry:
    """An application, who may ask it, and valid material."""

    app: ASGIApp
    made: World
    callers: dict[str, Ask] = field(default_factory=lambda: {"stranger": stranger})

    async def with_client(self, act: Callable[[httpx2.AsyncClient], Awaitable[Any]]) -> Any:
        transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=self.made.trusted.root.registry_url) as client:
            return await act(client)

    def document(self) -> dict[str, Any]:
        async def get(client: httpx2.AsyncClient) -> dict[str, Any]:
            return (await client.get("/openapi.json")).json()

        return asyncio.run(self.with_client(get))


@contextmanager
def quick_place() -> Iterator[Path]:
    """A directory in memory where there is one: thousands of durable commits are not what these tests are about."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@contextmanager
def opened(place: Path, *, particle: bool = False) -> Iterator[Registry]:
    """A registry as `serve` opens it; nobody is counted, as all would be one client. `particle`: that door is open."""
    worlds: list[Living] = []

    def made(**changes: Any) -> World:
        worlds.append(living(None, **changes))  # what it does with a database is not asked for
        return worlds[0].made

    plant = make_plant(place, made)
    config = plant.directory / "registry.toml"
    text = config.read_text().replace("rate_factor = 1.0", "rate_factor = 0.0")
    config.write_text(text.replace("particle_door = false", f"particle_door = {str(particle).lower()}"))
    ready = open_registry(Home.load(plant.directory), plant.made.trusted, worlds[0].signer)
    ready.health.watch()
    ready.health.look()
    try:
        station = as_station(station_of(plant.made))
        callers = {"stranger": stranger, "station": station, **_people(ready.database)}
        with desk_of_plant(plant, ready.database):
            yield Registry(ready.app, plant.made, callers)
    finally:
        ready.health.end()
        ready.database.close()


def _people(database: Database) -> dict[str, Ask]:
    people = People.over(database, "test", cost=CHEAP, badge_cost=CHEAP)

    def session(user: str) -> str:
        with database.write() as connection:
            state = store.state(connection, user)
            assert state is not None
            return people.tokens.open_session(connection, state).token

    users = {role: people.accounts.add(role, by="test").user_id for role in (Role.ADMINISTRATOR, Role.ENGINEER)}
    return {role.value: as_person(partial(session, user)) for role, user in users.items()}


def parts(response: httpx2.Response) -> list[httpx2.Response]:
    """The answer; or, of lines, each by itself as an answer: the document describes one."""
    if response.headers.get("content-type") != LINES:
        return [response]
    found = []
    for line in response.content.splitlines():
        one = httpx2.Response(
            response.status_code, headers={"content-type": LINES}, content=line, request=response.request
        )
        one.elapsed = response.elapsed
        found.append(one)
    return found


# ---- a campaign


@dataclass(slots=True)
class Found:
    """What a campaign came to."""

    requests: int = 0
    statuses: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)

    def note(self, caller: str, case: Case, response: httpx2.Response, problem: Exception | None) -> None:
        self.requests += 1
        self.statuses[(caller, case.operation.label, response.status_code)] += 1
        for each in getattr(problem, "exceptions", ()) if isinstance(problem, FailureGroup) else [problem]:
            if each is not None:
                self.problems.setdefault(
                    f"{case.operation.label} {response.status_code} {type(each).__name__}", str(each)
                )


def _negative(case: Case) -> bool:
    """Whether body or path is such as the document does not allow. Headers do not count: credentials are our own."""
    parts = case.meta.components if case.meta is not None else {}
    wrong = {where for where, each in parts.items() if each.mode is GenerationMode.NEGATIVE}
    return bool(wrong & {ParameterLocation.BODY, ParameterLocation.PATH})


def campaign(registry: Registry, requests: int, *, seed: int = 0, only: str = "") -> Found:
    """So many requests at the least, spread over all operations (or those whose path begins so) and callers."""
    schema = schemathesis.openapi.from_dict(registry.document())
    operations = [each.ok() for each in schema.get_all_operations() if each.ok().path.startswith(only)]
    found, seeds = Found(), Seeds(registry.made)
    varied = [each for each in operations if list(each.iter_parameters()) or each.body]
    fixed = [each for each in operations if each not in varied]
    share = -(-requests // max(1, len(varied)))

    async def run(client: httpx2.AsyncClient) -> None:
        loop = asyncio.get_running_loop()
        for caller, ask in registry.callers.items():
            for operation in varied + fixed:
                examples = max(1, int(share * _SHARES[caller])) if operation in varied else 3
                work = _examples(operation, caller, ask, client, loop, seeds, found, examples, seed)
                await loop.run_in_executor(None, work)

    asyncio.run(registry.with_client(run))
    return found


def _examples(
    operation: Any, caller: str, ask: Ask, client: httpx2.AsyncClient, loop: asyncio.AbstractEventLoop,
    seeds: Seeds, found: Found, examples: int, seed: int,
) -> Callable[[], None]:  # fmt: skip
    """Hypothesis is synchronous: its thread hands each request to the loop."""
    both = st.one_of(operation.as_strategy(GenerationMode.POSITIVE), operation.as_strategy(GenerationMode.NEGATIVE))
    bodies = seeds.bodies().get((operation.method.upper(), operation.path), [])
    values = seeds.values()
    lines = LINES in operation.get_request_payload_content_types()

    def one(case: Case, data: st.DataObject) -> None:
        checks = [*TRUE, negative_data_rejection] if not lines and _negative(case) else TRUE  # a bad line by itself
        known = [name for name in case.path_parameters or {} if name in values]
        if (bodies or known) and data.draw(st.integers(0, 3)):
            checks = TRUE  # what was negative may be valid now
            at = data.draw(st.integers(0, len(seeds.devices) - 1))
            for name in known:
                other = data.draw(st.integers(0, 4)) == 0
                case.path_parameters[name] = values[name][(at + other) % len(values[name])]
            if bodies:
                body = bodies[at % len(bodies)]
                case.body = twisted(data.draw, body) if data.draw(st.integers(0, 3)) else body
                case.media_type = operation.get_request_payload_content_types()[0]
        options = case.as_transport_kwargs(base_url=seeds.made.trusted.root.registry_url)
        method, url = options.pop("method"), options.pop("url")
        if "data" in options and isinstance(options["data"], (bytes, str)):
            options["content"] = options.pop("data")
        options = {name: value for name, value in options.items() if value}
        response = asyncio.run_coroutine_threadsafe(ask(client, method, url, options), loop).result(30)
        problem: Exception | None = None
        checks = TRUE if response.status_code == 413 else checks  # refused for its length, whatever else it is
        for part in parts(response):
            try:
                case.validate_response(part, checks=checks)
            except (FailureGroup, AssertionError) as error:
                problem = error
        found.note(caller, case, response, problem)

    return settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=seed == 0,
    )(given(case=both, data=st.data())(one))  # fmt: skip
