"""Pins over time over HTTP: what is shown of a device, acts, challenges, proposals, revocations, and each refusal."""

from __future__ import annotations

import asyncio
import base64
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from hsm.signer import SignerUnavailableError
from registry.access.caller import STATION_SCOPES, Access, Caller, PersonCaller, Role, StationCaller
from registry.access.guard import Admitted, Heading, require
from registry.app import create_app
from registry.database import Database
from registry.errors import RefusedError
from registry.pins.proposals import Proposals
from registry.services import Services
from tests.registry.living import WHO, Living, confirmed, living
from tests.registry.make import Device, ec_key, public
from tests.registry.test_api import STATUS, error
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.rekey import Step, authorised
from trust.revocation import revoked

LEAD = PersonCaller(user_id="1f" * 16, role=Role.LEAD, second_factor=True)
ENDS = utc(NOW + timedelta(days=7))


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


@dataclass(slots=True)
class Known:
    """A guard that takes everybody for this caller, and lets him do what the route lets such a one do."""

    caller: Caller = LEAD

    def admit(self, access: Access, _: Heading) -> Admitted:
        require(access, self.caller)
        return Admitted(self.caller)


@dataclass(slots=True)
class Api:
    """Requests to one application, by whoever is known."""

    site: Living
    door: Known = field(default_factory=Known)

    def ask(self, method: str, path: str, body: bytes | None = None) -> httpx2.Response:
        site, unused = self.site, {"batch": None, "leases": None, "orders": None, "people": None, "rosters": None}
        services = Services(
            pins=site.pins, acts=site.acts, proposals=Proposals(site.database, now=lambda: site.now), status=STATUS,
            guard=self.door, grants={}, **unused,
        )  # fmt: skip

        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                return await client.request(method, path, content=body)

        return asyncio.run(run())

    def by(self, caller: Caller) -> Api:
        return Api(self.site, Known(caller))


@pytest.fixture
def api(site: Living) -> Api:
    return Api(site)


def path(device: Device, more: str = "") -> str:
    return f"/v1/devices/{device.device_id}{more}"


def post(api: Api, device: Device, more: str, **body: Any) -> httpx2.Response:
    return api.ask("POST", path(device, more), json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def shape(envelope: Envelope) -> Any:
    return json.loads(envelope.to_json())


def test_a_device_with_all_that_proves_it(site: Living, api: Api) -> None:
    device, new = site.device(), ec_key()
    site.repinned(device, new, ends_at=ENDS)
    found = api.ask("GET", path(device))
    assert found.status_code == 200
    shown = found.json()
    assert [each["state"] for each in shown["keys"]] == ["expiring", "active"]
    assert shown["keys"][0]["until"] == ENDS
    assert [(each["kind"], each["state"]) for each in shown["acts"]] == [("repin", "active")]
    assert shown["acts"][0]["act"] == shape(site.read(device).deeds[0].envelope)
    assert shown["state"] == "active"
    pin = api.ask("GET", f"/v1/pins/{device.device_id}").json()
    assert [each["state"] for each in pin["history"]] == ["provisional", "active", "active"]


def test_a_re_pin_over_a_challenge(site: Living, api: Api) -> None:
    device, new = site.device(), ec_key()
    act = site.repin_act(device, new)
    answer = post(api, device, "/challenge").json()
    shown = site.shown(device, act, new, challenge=base64.b64decode(answer["challenge"]))
    body = {
        "act": shape(act), "challenge": answer["challenge"], "spki": base64.b64encode(shown.spki).decode(),
        "signatures": [base64.b64encode(each).decode() for each in shown.signatures],
    }  # fmt: skip
    done = post(api, device, "/repin", **body)
    assert done.status_code == 200
    assert [each["state"] for each in done.json()["keys"]] == ["ended", "active"]
    assert error(post(api, device, "/repin", **body)) == (409, "act-used")


def test_the_authoritys_word_for_a_step_that_is_due(site: Living, api: Api) -> None:
    device, new = site.device(), ec_key()
    act = site.act(device, "rekey")
    asked = {"act": shape(act), "step": "new-key", "nonce": "5a" * 32}
    answer = post(api, device, "/authorisations", **asked)
    assert answer.status_code == 200
    word = Envelope.from_json(json.dumps(answer.json()["authorisation"], separators=(",", ":")).encode())
    found = authorised(word, [public(site.authority)])
    assert (found.step, found.nonce.hex()) == (Step.NEW_KEY, "5a" * 32)
    early = {**asked, "step": "commit", "new_fingerprint": public(new).fingerprint}
    assert error(post(api, device, "/authorisations", **early)) == (409, "act-conflict")
    for wrong in ({"step": "sign"}, {"nonce": "5a" * 31}, {"act": {}}, {"bytes": "5a"}):
        assert error(post(api, device, "/authorisations", **{**asked, **wrong})) == (400, "malformed")
    others = api.by(StationCaller("station-77", STATION_SCOPES))
    assert error(post(others, device, "/authorisations", **asked)) == (403, "device-of-others")
    support = api.by(replace(LEAD, role=Role.SUPPORT))
    assert error(post(support, device, "/authorisations", **asked)) == (403, "not-authorised")
    site.signer.fault = SignerUnavailableError("away")
    assert error(post(api, device, "/authorisations", **asked)) == (503, "token-unavailable")


def test_acts_and_their_refusals(site: Living, api: Api) -> None:
    device = site.device()
    assert error(post(api, device, "/revoke", act=shape(site.act(device, "revoke", WHO["pia"])))) == (
        403, "act-not-approved",
    )  # fmt: skip
    assert error(post(api, device, "/scrap", act=shape(site.act(device, "revoke")))) == (403, "statement-invalid")
    assert error(post(api, device, "/revoke", act={})) == (400, "malformed")
    scrapped = post(api, device, "/scrap", act=shape(site.act(device, "scrap")))
    assert scrapped.json()["state"] == "scrapped"
    assert error(post(api, device, "/revoke", act=shape(site.act(device, "revoke")))) == (409, "act-conflict")
    back = post(api, device, "/unscrap", act=shape(site.act(device, "unscrap", was="scrapped")))
    assert back.json()["state"] == "active"
    stranger = Device()
    assert error(api.ask("GET", path(stranger))) == (404, "not-pinned")
    assert error(post(api, stranger, "/challenge")) == (409, "not-pinned")


def test_a_scrapped_device_is_shown_as_scrapped_to_stations_too(site: Living, api: Api) -> None:
    device = site.device(active=False)
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap", WHO["quinn"], was="provisional"), confirmed)
    assert api.ask("GET", f"/v1/pins/{device.device_id}").json()["state"] == "scrapped"
    record = site.pins.find(device.device_id)
    assert record is not None
    assert record.state == "scrapped"
    done = site.made.completion(device, record.pin.statement, record.pin.receipt)
    body = b'{"completion": %s}' % done.to_json()
    station = api.by(StationCaller("station-01", STATION_SCOPES))
    assert error(station.ask("PUT", f"/v1/pins/{device.device_id}/completion", body)) == (409, "device-scrapped")


def test_proposals_change_nothing(site: Living, api: Api) -> None:
    device, new = site.device(), ec_key()
    before = api.ask("GET", path(device)).content
    spki = base64.b64encode(public(new).spki).decode()
    first = post(api, device, "/proposals", kind="repin", reason="key leaked at customer", spki=spki)
    assert first.json()["fingerprint"] == public(new).fingerprint
    site.now += timedelta(seconds=1)
    post(api, device, "/proposals", kind="scrap", reason="came back burnt")
    assert [each["kind"] for each in api.ask("GET", path(device, "/proposals")).json()["proposals"]] == [
        "scrap", "repin",
    ]  # fmt: skip
    assert api.ask("GET", path(device)).content == before
    assert error(post(api, device, "/proposals", kind="scrap", reason="eight and a \x00")) == (400, "malformed")
    wrong = base64.b64encode(b"no key").decode()
    assert error(post(api, device, "/proposals", kind="repin", reason="for a test", spki=wrong)) == (
        403, "statement-invalid",
    )  # fmt: skip


def test_a_device_takes_so_many_proposals_and_no_more(site: Living) -> None:
    device = site.device()
    for each in range(50):
        proposed(site, device, by=f"u{each}")
    with pytest.raises(RefusedError, match="50 proposals"):
        proposed(site, device, by="another")
    site.now += timedelta(days=31)
    proposed(site, device, by="another")


def proposed(site: Living, device: Device, *, by: str) -> None:
    book = Proposals(site.database, now=lambda: site.now)
    book.propose(device.device_id, "scrap", "for a test", proposer=by, source="api", spki=None)


def test_no_single_account_keeps_others_from_proposing(site: Living) -> None:
    """As whoever has one support's token would, from many threads at once. Control: the others are still heard."""
    device = site.device()

    def taken(_: int) -> bool:
        try:
            proposed(site, device, by="thief")
        except RefusedError as error:
            return error.code is not Code.TOO_MANY_REQUESTS
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(taken, range(60))) == 10
    proposed(site, device, by="lead")
    assert len(Proposals(site.database).about(device.device_id)) == 11


def test_revocations_of_an_order_page_by_page(site: Living, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.pins.acts._PAGE", 2)
    devices = [site.device() for _ in range(5)]
    for each in devices:
        site.acts.do(each.device_id, "scrap", site.act(each, "scrap"))
    revoked_only = site.device()
    site.acts.do(revoked_only.device_id, "revoke", site.act(revoked_only, "revoke"))
    order, page, found = site.order.payload_sha256, "first", []
    while page is not None:
        answer = api.ask("GET", f"/v1/orders/{order}/revocations/{page}").json()
        found += [
            Envelope.from_json(json.dumps(each, sort_keys=True, separators=(",", ":")).encode())
            for each in answer["revocations"]
        ]
        page = answer["next"]
    told = [revoked(site.made.trusted, each) for each in found]
    assert sorted(each.device_id for each in told) == sorted(str(each.device_id) for each in devices)
    assert error(api.ask("GET", f"/v1/orders/{'ab' * 32}/revocations/first")) == (404, "order-unknown")
    for odd in (f"/v1/orders/{order}/revocations/%00", "/v1/orders/%00/revocations/first"):
        assert error(api.ask("GET", odd)) == (400, "malformed")


def test_a_record_that_does_not_verify_is_not_told(site: Living, api: Api) -> None:
    device = site.device()
    with site.database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER completions_no_update")
        connection.exec_driver_sql("UPDATE completions SET registered_at = '2020-01-01T00:00:00.000Z'")
    for each in (path(device), f"/v1/pins/{device.device_id}"):
        assert error(api.ask("GET", each)) == (500, "record-untrusted")
    assert error(post(api, device, "/revoke", act=shape(site.act(device, "revoke")))) == (500, "record-untrusted")


# ---- who may


@pytest.mark.parametrize("kind", ["revoke", "unscrap"])
def test_who_is_signed_in_shows_a_second_factor_and_stations_carry_neither(site: Living, api: Api, kind: str) -> None:
    device = site.device()
    body = {"act": shape(site.act(device, "revoke"))}
    assert error(post(api.by(replace(LEAD, second_factor=False)), device, f"/{kind}", **body)) == (
        401, "second-factor-needed",
    )  # fmt: skip
    station = StationCaller("station-01", STATION_SCOPES)
    assert error(post(api.by(station), device, f"/{kind}", **body)) == (403, "not-authorised")
    for role in (Role.OPERATOR, Role.SUPPORT, Role.AUDITOR, Role.ADMINISTRATOR):
        assert error(post(api.by(replace(LEAD, role=role)), device, f"/{kind}", **body)) == (403, "not-authorised")
    assert site.read(device).state == "active"


def test_a_station_brings_devices_of_its_own_orders(site: Living, api: Api) -> None:
    device = site.device()
    own, others = (api.by(StationCaller(name, STATION_SCOPES)) for name in ("station-01", "station-77"))
    assert own.ask("GET", path(device)).status_code == 200
    assert post(own, device, "/challenge").status_code == 200
    assert error(others.ask("GET", path(device))) == (403, "device-of-others")
    assert error(post(others, device, "/challenge")) == (403, "device-of-others")
    scrap = shape(site.act(device, "scrap"))
    assert error(post(others, device, "/scrap", act=scrap)) == (403, "device-of-others")
    order = site.order.payload_sha256
    assert error(others.ask("GET", f"/v1/orders/{order}/revocations/first")) == (403, "not-authorised")
    assert post(own, device, "/scrap", act=scrap).json()["state"] == "scrapped"
    assert len(own.ask("GET", f"/v1/orders/{order}/revocations/first").json()["revocations"]) == 1


@pytest.mark.parametrize("what", ["challenge", "authorisations", "repin", "scrap", "revoke", "unscrap"])
def test_what_people_bring_wants_a_second_factor_just_given(site: Living, api: Api, what: str) -> None:
    device = site.device()
    stale = api.by(replace(LEAD, second_factor=False))
    assert error(post(stale, device, f"/{what}", act={})) == (401, "second-factor-needed")
    assert post(api, device, f"/{what}", nothing=1).status_code != 401


def test_support_can_propose_and_nothing_else(site: Living, api: Api) -> None:
    device, support = site.device(), api.by(replace(LEAD, role=Role.SUPPORT))
    assert post(support, device, "/proposals", kind="revoke", reason="customer says").json()["proposer"] == LEAD.user_id
    assert error(post(support, device, "/scrap", act=shape(site.act(device, "scrap")))) == (403, "not-authorised")
    assert error(post(support, device, "/challenge")) == (403, "not-authorised")
