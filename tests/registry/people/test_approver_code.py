"""The scrap of a unit that was never finished: on the one-time code of the approver who signed the act, and no other."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from registry.access.caller import STATION_SCOPES, Caller, Role, StationCaller
from registry.app import create_app
from registry.database import Database
from registry.errors import RefusedError
from registry.people import store, throttle
from registry.people.service import People
from registry.pins import acts_store
from registry.services import Services
from registry.tables import tries
from tests.registry.living import WHO, Living, living
from tests.registry.make import Device, public
from tests.registry.people.crew import Crew, Member
from tests.registry.people.served import services_of
from tests.registry.test_api import error
from tests.registry.test_devices_api import LEAD, Known
from trust.codes import Code
from trust.dsse import Envelope

STATION = StationCaller("station-01", STATION_SCOPES)
NEEDED, REFUSED, OTHERS = (401, "second-factor-needed"), (401, "sign-in-refused"), (403, "not-authorised")


@dataclass(slots=True)
class Desk:
    """A registry over HTTP, with people; `quinn` approves with the key of the trust root's person of that name."""

    site: Living
    crew: Crew
    quinn: Member
    services: Services

    def scrap(self, device: Device, caller: Caller = STATION, **body: Any) -> httpx2.Response:
        services = replace(self.services, guard=Known(caller))  # type: ignore[arg-type]  # knows everybody
        body = {"act": json.loads(self.act(device).to_json()), **body}
        path = f"/v1/devices/{device.device_id}/scrap"

        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                return await client.post(path, content=json.dumps(body, separators=(",", ":"), sort_keys=True).encode())

        return asyncio.run(run())

    def act(self, device: Device) -> Envelope:
        return self.site.act(device, "scrap", WHO["quinn"], was="provisional")

    def state(self, device: Device) -> str:
        return self.site.read(device).state

    def failed(self, member: Member) -> list[int]:
        with self.crew.database.read() as connection:
            rows = connection.execute(select(tries.c.failed).where(tries.c.subject == member.user_id))
            return [each.failed for each in rows]


def key_of(name: str) -> str:
    return public(WHO[name].key).fingerprint


def code(member: Member, **changes: str) -> dict[str, str]:
    return {"user_id": member.user_id, "code": member.code(), **changes}


@pytest.fixture
def desk(database: Database) -> Desk:
    site, crew = living(database), Crew.make(database)
    quinn = crew.member(Role.LEAD)
    crew.accounts.set_approver(quinn.user_id, key_of("quinn"), "console")
    people = People(accounts=crew.accounts, sessions=crew.sessions, tokens=crew.tokens)
    services = replace(services_of(database, site.made, people, None), pins=site.pins, acts=site.acts)
    return Desk(site, crew, quinn, services)


@pytest.mark.parametrize("caller", [STATION, LEAD], ids=["station", "lead"])
def test_an_approvers_code_scraps_and_is_used_up_with_it(desk: Desk, caller: Caller) -> None:
    one, two = desk.site.device(active=False), desk.site.device(active=False)
    without = desk.scrap(one, caller)
    assert error(without) == NEEDED
    assert "insufficient_user_authentication" in without.headers["www-authenticate"]
    assert desk.state(one) == "provisional"
    assert desk.scrap(one, caller, approver=code(desk.quinn)).json()["state"] == "scrapped"
    assert error(desk.scrap(two, caller, approver=code(desk.quinn))) == REFUSED, "the code was used"
    assert error(desk.scrap(two, caller, approver=code(desk.quinn, code=desk.quinn.code(steps=-1)))) == REFUSED
    assert desk.state(two) == "provisional"
    desk.crew.clock.ahead(30)
    assert desk.scrap(two, caller, approver=code(desk.quinn)).json()["state"] == "scrapped"


def test_control_without_the_last_step_one_code_would_scrap_two(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "use_step", lambda *_: True)
    for device in (desk.site.device(active=False), desk.site.device(active=False)):
        assert desk.scrap(device, approver=code(desk.quinn)).status_code == 200


def test_a_code_of_anybody_else_does_nothing_and_uses_up_nobodys_tries(desk: Desk) -> None:
    device, lead = desk.site.device(active=False), desk.crew.member(Role.LEAD)
    others = desk.crew.member(Role.ENGINEER)
    desk.crew.accounts.set_approver(others.user_id, key_of("pia"), "console")
    for each in (lead, others):
        assert error(desk.scrap(device, approver=code(each))) == OTHERS
        assert desk.failed(each) == []
    for nobody in ("ab" * 16, "\0", "x" * 200):
        assert error(desk.scrap(device, approver={"user_id": nobody, "code": "123456"})) == OTHERS
    desk.crew.accounts.set_approver(desk.quinn.user_id, "", "console")
    assert error(desk.scrap(device, approver=code(desk.quinn))) == OTHERS
    desk.crew.accounts.set_approver(desk.quinn.user_id, key_of("quinn"), "console")
    desk.crew.accounts.disable(desk.quinn.user_id, "console")
    assert error(desk.scrap(device, approver=code(desk.quinn))) == OTHERS
    assert desk.state(device) == "provisional"


def test_guesses_count_and_nothing_is_looked_at_beyond_the_limit(desk: Desk) -> None:
    device = desk.site.device(active=False)
    wrong = "000000" if desk.quinn.code() != "000000" else "111111"
    for _ in range(throttle.FREE):
        assert error(desk.scrap(device, approver=code(desk.quinn, code=wrong))) == REFUSED
    late = desk.scrap(device, approver=code(desk.quinn))
    assert error(late) == (429, "too-many-tries"), "not even the right one"
    assert int(late.headers["retry-after"]) >= 1
    assert desk.failed(desk.quinn) == [throttle.FREE]
    assert desk.state(device) == "provisional"


def test_an_act_that_cannot_be_done_asks_for_no_code(desk: Desk) -> None:
    done, burned = desk.site.device(), desk.site.device(active=False)
    assert error(desk.scrap(done, approver=code(desk.quinn))) == (409, "act-conflict")
    assert desk.failed(desk.quinn) == []
    assert desk.scrap(burned, approver=code(desk.quinn)).status_code == 200, "so it was not used up"


def test_code_and_act_are_one_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    device, insert = desk.site.device(active=False), acts_store.insert_act

    def crash(*_: object) -> None:
        raise RuntimeError("a crash right here")

    monkeypatch.setattr(acts_store, "insert_act", crash)
    assert desk.scrap(device, approver=code(desk.quinn)).status_code == 500
    assert desk.state(device) == "provisional"
    monkeypatch.setattr(acts_store, "insert_act", insert)
    assert desk.scrap(device, approver=code(desk.quinn)).json()["state"] == "scrapped", "the same code, not used up"


def test_of_many_at_once_with_one_code_one_is_done(desk: Desk) -> None:
    devices = [desk.site.device(active=False) for _ in range(6)]
    acts, at = desk.site.acts, desk.quinn.shown()

    def scrap(device: Device) -> str:
        try:
            given = lambda keys: desk.crew.sessions.given(at, keys)  # noqa: E731
            acts.do(device.device_id, "scrap", desk.act(device), given)
        except Exception as error:
            return str(getattr(error, "code", error))
        return "done"

    with ThreadPoolExecutor(6) as pool:
        ended = list(pool.map(scrap, devices))
    assert ended.count("done") == 1, ended
    assert [desk.state(each) for each in devices].count("scrapped") == 1


def test_whose_key_it_is_is_on_record_and_ends_sessions(desk: Desk) -> None:
    crew, quinn = desk.crew, desk.quinn
    token = crew.sign_in(quinn).session.token
    assert crew.tokens.caller(token) is not None
    crew.accounts.set_approver(quinn.user_id, key_of("quinn"), "console")
    assert crew.tokens.caller(token) is not None, "the same again changes nothing"
    crew.accounts.set_approver(quinn.user_id, "", "console")
    assert crew.tokens.caller(token) is None
    assert [(each.what, each.approver[:4]) for each in crew.accounts.history(quinn.user_id)] == [
        ("added", ""), ("approver", key_of("quinn")[:4]), ("approver", ""),
    ]  # fmt: skip
    for wrong in ("ab", key_of("quinn").upper(), f"{key_of('quinn')}\n"):
        with pytest.raises(RefusedError) as caught:
            crew.accounts.set_approver(quinn.user_id, wrong, "console")
        assert caught.value.code is Code.MALFORMED
