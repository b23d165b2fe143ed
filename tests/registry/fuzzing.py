"""Requests made from the registry's OpenAPI document by Schemathesis, and from valid bodies that were twisted.

Asks the application as `serve` builds it, with real credentials where a caller has some. Each answer is held against the
document; what does not fit, and every 5xx, is a problem. Holds no assertion.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import ASGIApp

from registry.access.caller import Role
from registry.people import store
from registry.people.service import People
from registry.settings import Home
from registry.startup import open_registry
from tests.registry.access import StationClient, station_of
from tests.registry.make import Device, World
from tests.registry.people.crew import CHEAP
from tests.registry.running import make_plant

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
_SHARES = {"stranger": 0.1, "station": 0.6, "administrator": 0.4}  # of the requests to an operation


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


def as_person(token: str) -> Ask:
    async def ask(client: httpx2.AsyncClient, method: str, url: str, options: dict[str, Any]) -> httpx2.Response:
        headers = {name: value for name, value in options.get("headers", {}).items() if name.lower() not in _OWN}
        return await client.request(
            method, url, **options | {"headers": headers | {"authorization": f"Bearer {token}"}}
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
def opened(place: Path) -> Iterator[Registry]:
    """A registry as `serve` opens it; nobody is counted, as all would be one client."""
    plant = make_plant(place)
    config = plant.directory / "registry.toml"
    config.write_text(config.read_text().replace("rate_factor = 1.0", "rate_factor = 0.0"))
    ready = open_registry(Home.load(plant.directory), plant.made.trusted, plant.made.signer())
    ready.health.watch()
    ready.health.look()
    try:
        people = People.over(ready.database, "test", cost=CHEAP, badge_cost=CHEAP)
        user = people.accounts.add(Role.ADMINISTRATOR, by="test").user_id
        with ready.database.write() as connection:
            state = store.state(connection, user)
            assert state is not None
            token = people.tokens.open_session(connection, state).token
        callers = {
            "stranger": stranger, "station": as_station(station_of(plant.made)), "administrator": as_person(token),
        }  # fmt: skip
        yield Registry(ready.app, plant.made, callers)
    finally:
        ready.health.end()
        ready.database.close()


@dataclass(slots=True)
class Seeds:
    """Valid paths and bodies: of devices that are pinned, and of some that are not yet."""

    made: World
    devices: list[Device] = field(default_factory=lambda: [Device() for _ in range(6)])

    def bodies(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """By operation; none for what is not known here: Schemathesis makes all of it."""
        order = json.loads(self.made.order_envelope.to_json())
        pins = [self.made.pin(each) for each in self.devices]
        statements = [json.loads(each.to_json()) for each in pins]
        completions = [self.made.completion(d, p, p) for d, p in zip(self.devices, pins, strict=True)]
        pin = "/v1/pins/{device_id}"
        return {
            ("PUT", pin): [{"statement": each, "order": order} for each in statements],
            ("PUT", f"{pin}/completion"): [{"completion": json.loads(each.to_json())} for each in completions],
            ("POST", "/v1/pins:batch"): [
                {"device_id": str(device.device_id), "statement": each, "order": order}
                for device, each in zip(self.devices, statements, strict=True)
            ],
            ("POST", "/v1/leases"): [{"request": each} for each in statements],
            ("POST", "/v1/orders/{order_sha256}/raises"): [{"act": order}],
        }

    def values(self) -> Mapping[str, list[str]]:
        """Of path parameters."""
        return {
            "device_id": [str(each.device_id) for each in self.devices],
            "order_sha256": [*[self.made.order_envelope.payload_sha256] * 5, "ab" * 32],
        }


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


# ---- twisting a body

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def twisted(draw: Callable[[Any], Any], value: Any) -> Any:
    """The value with one thing changed somewhere inside, now and then in an envelope's payload."""
    match value:
        case {"payload": str(payload)} if draw(st.booleans()):
            inner = twisted(draw, json.loads(base64.b64decode(payload)))
            text = json.dumps(inner, separators=(",", ":"), sort_keys=True).encode()
            return value | {"payload": base64.b64encode(text).decode()}
        case dict() if value and draw(st.integers(0, 4)):
            name = draw(st.sampled_from(sorted(value)))
            if draw(st.integers(0, 5)):
                return value | {name: twisted(draw, value[name])}
            return {each: value[each] for each in value if each != name}
        case list() if value and draw(st.booleans()):
            at = draw(st.integers(0, len(value) - 1))
            return [twisted(draw, each) if number == at else each for number, each in enumerate(value)]
        case str() if value and draw(st.booleans()):
            at = draw(st.integers(0, len(value) - 1))
            return value[:at] + draw(st.characters(codec="utf-8")) + value[at + 1 :]
        case _:
            return draw(_ANY)


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
        checks = TRUE if lines else [*TRUE, negative_data_rejection]  # a bad line is refused by itself
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
