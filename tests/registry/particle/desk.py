"""A registry whose Particle-compatible door is open, and whoever comes to it; proposals are only listened to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.types import ASGIApp

from registry.access.caller import Role
from registry.access.opening import open_door
from registry.app import create_app
from registry.database import Database
from registry.errors import RefusedError
from registry.particle.door import with_particle
from registry.particle.proposing import Held, Proposal
from registry.particle.translating import Translating
from registry.particle.words import State
from registry.people.service import People
from registry.services import Services
from tests.registry.make import World, world
from tests.registry.particle.recorded import ApiJs, Cli, Request
from tests.registry.people.crew import Crew, Member
from tests.registry.test_api import STATUS
from trust.identity import DeviceId

DEVICE = "e00fce6800000000000000ab"


@dataclass(slots=True)
class Heard:
    """`registry.particle.proposing.Proposals` that only notes what was proposed."""

    proposals: list[Proposal] = field(default_factory=list)
    refusal: RefusedError | None = None
    state: State = "proposed"

    def propose(self, proposal: Proposal) -> State:
        if self.refusal is not None:
            raise self.refusal
        self.proposals.append(proposal)
        return self.state

    def about(self, device: DeviceId) -> tuple[Held, ...]:
        if self.refusal is not None:
            raise self.refusal
        return tuple(Held(each.key.fingerprint, "proposed") for each in self.proposals if each.device == device)


@dataclass(slots=True)
class Desk:
    """One application with an open door."""

    crew: Crew
    made: World
    heard: Heard
    services: Services
    host: str = "192.0.2.10"
    served: Services | None = None
    application: ASGIApp | None = None

    @classmethod
    def make(cls, crew: Crew, database: Database, **changes: Any) -> Desk:
        made, heard = world(), Heard()
        people = People(accounts=crew.accounts, sessions=crew.sessions, tokens=crew.tokens)
        door = open_door(database, made.trusted.root, crew.tokens)
        grants = with_particle(door.grants, database, people, now=crew.clock)
        nobody: Any = None
        services = Services(
            pins=nobody, acts=nobody, proposals=nobody, batch=nobody, leases=nobody, orders=nobody, people=people, rosters=nobody, guard=door.guard, grants=grants,
            status=STATUS, particle=heard, **changes,
        )  # fmt: skip
        return cls(crew, made, heard, services)

    @property
    def app(self) -> ASGIApp:
        """Made once for each set of services: it costs a second."""
        if self.services is not self.served:
            self.application, self.served = Translating(create_app(self.services)), self.services
        assert self.application is not None
        return self.application

    def send(self, request: Request) -> httpx2.Response:
        return self.ask(request.method, request.path, request.body.encode() or None, **request.headers)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> httpx2.Response:
        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app, raise_app_exceptions=False, client=(self.host, 1234))
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.request(method, path, content=body, headers=named)

        return asyncio.run(run())

    def key(self, fields: dict[str, Any], token: str, path_id: str = DEVICE) -> httpx2.Response:
        """As JSON, with exactly these fields."""
        body = json.dumps(fields).encode()
        headers = {"authorization": f"Bearer {token}", "content_type": "application/json"}
        return self.ask("POST", f"/v1/provisioning/{path_id}", body, **headers)

    def log_in(self, client: Cli | ApiJs, member: Member) -> str:
        """As the client does it: password, then the code."""
        self.crew.clock.ahead(30)
        asked = self.send(client.password(member.user_id, member.password))
        assert (asked.status_code, asked.json()["error"]) == (403, "mfa_required"), asked.text
        answer = self.send(client.code(asked.json()["mfa_token"], member.code()))
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        assert isinstance(token, str)
        return token

    def token(self, role: Role = Role.ENGINEER) -> str:
        return self.log_in(ApiJs(), self.crew.member(role))
