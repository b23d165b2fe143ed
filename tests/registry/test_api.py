"""The HTTP contract: statuses, codes, the one error shape, limits. Asked of the ASGI application, bytes as they come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from hsm.signer import SignerUnavailableError
from registry import openapi
from registry.access.opening import Door, open_door
from registry.app import create_app
from registry.database import Database
from registry.leases.service import LeaseService
from registry.limits.body import MAX_BODY_BYTES, BodyLimit
from registry.messages import StatusAnswer
from registry.orders.service import OrderService
from registry.pins.acts import ActService
from registry.pins.batch import PinBatch
from registry.pins.proposals import Proposals
from registry.pins.service import PinService
from registry.routes import ROUTES
from registry.services import Services
from tests.registry.access import StationClient, station_of
from tests.registry.make import Device, SoftwareReceiptSigner, World
from trust.dsse import Envelope

STATUS = StatusAnswer(
    registry="registry-01", environment="demo", root_sha256="ab" * 32, root_version=1, version="1.2.3", trouble=""
)
HELD = {"state", "statement", "receipt", "completion", "completion_receipt"}


@dataclass(frozen=True, slots=True)
class Api:
    """Requests to one application, as a station makes them."""

    service: PinService
    leases: LeaseService
    door: Door
    station: StationClient
    orders: OrderService
    batch: PinBatch
    acts: ActService
    proposals: Proposals

    def ask(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes] | None = None, **headers: str
    ) -> httpx2.Response:
        async def run() -> httpx2.Response:
            services = Services(
                pins=self.service,
                leases=self.leases,
                orders=self.orders,
                acts=self.acts,
                proposals=self.proposals,
                batch=self.batch,
                people=None,
                rosters=None,
                status=STATUS,
                guard=self.door.guard,
                grants=self.door.grants,
            )
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                return await self.station.ask(client, method, path, body, headers)

        return asyncio.run(run())

    @classmethod
    def make(
        cls, service: PinService, leases: LeaseService, database: Database, made: World, batch: PinBatch | None = None
    ) -> Api:
        door, orders = open_door(database, made.trusted.root), OrderService(database, made.trusted)
        batch = batch or PinBatch(database, made.trusted, made.signer(), service)
        acts = ActService(database, made.trusted, service._receipts.signer)
        return cls(service, leases, door, station_of(made), orders, batch, acts, Proposals(database))

    def put_pin(self, device: Device, statement: Envelope, order: Envelope) -> httpx2.Response:
        return self.ask("PUT", f"/v1/pins/{device.device_id}", pin_body(statement, order))


def pin_body(statement: Envelope, order: Envelope) -> bytes:
    return b'{"statement": %s, "order": %s}' % (statement.to_json(), order.to_json())


@pytest.fixture
def api(service: PinService, database: Database, made: World, signer: SoftwareReceiptSigner) -> Api:
    return Api.make(service, LeaseService(database, made.trusted, signer), database, made)


def error(response: httpx2.Response) -> tuple[int, str]:
    """Status and code, after checking the shape and that no diagnostics leak."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "stored"}
    assert body["error"]["message"]
    assert response.headers["content-type"] == "application/json"
    assert "Traceback" not in response.text and "File " not in response.text
    return response.status_code, body["error"]["code"]


def test_pin_then_complete_then_history(api: Api, made: World) -> None:
    device = Device()
    statement = made.pin(device)
    pinned = api.put_pin(device, statement, made.order_envelope)
    assert pinned.status_code == 200 and set(pinned.json()) == HELD
    assert pinned.json()["state"] == "provisional"
    assert pinned.json()["completion"] is None and pinned.json()["completion_receipt"] is None
    assert statement.to_json() in pinned.content  # verbatim
    receipt = Envelope.from_json(json.dumps(pinned.json()["receipt"], separators=(",", ":")).encode())
    completion = made.completion(device, statement, receipt)
    path = f"/v1/pins/{device.device_id}"
    done = api.ask("PUT", f"{path}/completion", b'{"completion":%s}' % completion.to_json())
    assert done.status_code == 200 and done.json()["state"] == "active" and set(done.json()) == HELD
    found = api.ask("GET", path)
    history = found.json().pop("history")
    assert {name: value for name, value in found.json().items() if name != "history"} == done.json()
    assert [(each["state"], each["statement_sha256"]) for each in history] == [
        ("provisional", statement.payload_sha256),
        ("active", completion.payload_sha256),
    ]
    assert history[0]["at"] <= history[1]["at"]
    assert api.ask("GET", path.upper().replace("/V1/PINS", "/v1/pins")).json() == found.json()


def test_the_same_put_gives_the_same_bytes(api: Api, made: World) -> None:
    device = Device()
    statement = made.pin(device)
    assert (
        api.put_pin(device, statement, made.order_envelope).content
        == api.put_pin(device, statement, made.order_envelope).content
    )


def test_conflicts_show_what_is_stored(api: Api, made: World) -> None:
    device = Device()
    stored = api.put_pin(device, made.pin(device), made.order_envelope).json()
    other_key, other_job, twin = (
        Device(device_id=device.device_id),
        Device(key=device.key, device_id=device.device_id),
        Device(key=device.key),
    )
    cases = [
        (other_key, made.pin(other_key), 409, "device-has-other-key", stored),
        (other_job, made.pin(other_job), 409, "pinned-under-other-job", stored),
        (device, made.pin(device), 422, "job-bytes-differ", stored),
        (twin, made.pin(twin), 409, "key-on-other-device", stored),
    ]
    for each, statement, status, code, held in cases:
        response = api.put_pin(each, statement, made.order_envelope)
        assert error(response) == (status, code)
        assert response.json()["error"]["stored"] == {**held, "repin": None, "repin_receipt": None}


def test_not_pinned(api: Api, made: World) -> None:
    device = Device()
    assert error(api.ask("GET", f"/v1/pins/{device.device_id}")) == (404, "not-pinned")
    statement = made.pin(device)
    body = b'{"completion":%s}' % made.completion(device, statement, statement).to_json()
    assert error(api.ask("PUT", f"/v1/pins/{device.device_id}/completion", body)) == (409, "not-pinned")


def test_refusals_of_the_statement_are_403(api: Api, made: World) -> None:
    device = Device()
    cases = {
        "wrong-environment": {"environment": "plant-1"},
        "wrong-root": {"root_sha256": "00" * 32},
        "order-refuses": {"product": "kettle"},
        "statement-invalid": {"fingerprint": "00" * 32},
        "proof-invalid": {"possession": device.possession("verify")},
    }
    found = {
        code: error(api.put_pin(device, made.pin(device, **changes), made.order_envelope))
        for code, changes in cases.items()
    }
    assert found == {code: (403, code) for code in cases}


def test_bodies_that_are_not_the_api_are_malformed(api: Api, made: World) -> None:
    device = Device()
    statement, order = made.pin(device).to_json(), made.order_envelope.to_json()
    bodies = {
        "empty": b"",
        "not json": b"pin, please",
        "not utf-8": b'{"statement": "\xff"}',
        "list": b"[]",
        "null": b"null",
        "missing": b'{"statement":%s}' % statement,
        "extra": b'{"statement":%s,"order":%s,"also":1}' % (statement, order),
        "twice": b'{"statement":%s,"statement":%s,"order":%s}' % (statement, statement, order),
        "twice, escaped": b'{"statement":%s,"stat\\u0065ment":%s,"order":%s}' % (statement, statement, order),
        "two documents": pin_body(made.pin(device), made.order_envelope) + b"{}",
        "NaN": b'{"statement":NaN,"order":%s}' % order,
        "null inside": b'{"statement":null,"order":%s}' % order,
        "text inside": b'{"statement":%s,"order":%s}' % (json.dumps(statement.decode()).encode(), order),
        "space inside": b'{"statement":%s,"order":%s}' % (statement.replace(b":", b": ", 1), order),
        "unsorted inside": b'{"statement":%s,"order":%s}'
        % (json.dumps(dict(reversed(json.loads(statement).items())), separators=(",", ":")).encode(), order),
        "key twice inside": b'{"statement":%s,"order":%s}' % (statement.replace(b"{", b'{"payload":"AA==",', 1), order),
        "unknown inside": b'{"statement":%s,"order":%s}' % (statement.replace(b"{", b'{"a":1,', 1), order),
        "deep": b'{"statement":%s' % (b"[" * 30_000),
        "huge number": b'{"statement":%s,"order":1}' % (b"9" * 30_000),
    }
    found = {what: error(api.ask("PUT", f"/v1/pins/{device.device_id}", body)) for what, body in bodies.items()}
    assert found == dict.fromkeys(bodies, (400, "malformed"))
    assert error(api.ask("PUT", f"/v1/pins/{device.device_id}/completion", b'{"completion":[]}')) == (400, "malformed")


def test_spaces_and_order_around_the_envelopes_do_not_matter(api: Api, made: World) -> None:
    device = Device()
    body = b'\n{ "order" : %s ,\t"statement" : %s }\r\n' % (made.order_envelope.to_json(), made.pin(device).to_json())
    assert api.ask("PUT", f"/v1/pins/{device.device_id}", body).status_code == 200


@pytest.mark.parametrize("device", ["01", "zz" * 12, "00" * 12, "ff" * 12, "0102030405060708090a0b0c0d", "%20"])
def test_device_ids_that_are_none(device: str, api: Api, made: World) -> None:
    assert error(api.ask("GET", f"/v1/pins/{device}")) == (400, "malformed")
    body = pin_body(made.pin(Device()), made.order_envelope)
    assert error(api.ask("PUT", f"/v1/pins/{device}", body)) == (400, "malformed")


def test_routes_that_are_none(api: Api) -> None:
    for method, path in [
        ("GET", "/"),
        ("GET", "/v1/pins"),
        ("GET", "/v1/pins/"),
        ("PUT", "/v1/pins/ab/cd"),
        ("GET", "/docs"),
    ]:
        assert error(api.ask(method, path)) == (404, "not-found")
    for method, path in [
        ("DELETE", "/v1/pins/" + "ab" * 12),
        ("POST", "/v1/status"),
        ("GET", "/v1/leases"),
        ("GET", "/v1/pins/" + "ab" * 12 + "/completion"),
    ]:
        assert error(api.ask(method, path)) == (405, "not-found")


def test_a_body_may_have_65536_bytes_and_no_more(api: Api, made: World) -> None:
    device = Device()
    body, path = pin_body(made.pin(device), made.order_envelope), f"/v1/pins/{device.device_id}"
    assert error(api.ask("PUT", path, body.ljust(MAX_BODY_BYTES + 1))) == (413, "too-large")
    assert error(api.ask("PUT", path, b"\x00" * 5_000_000)) == (413, "too-large")
    assert api.ask("PUT", path, body.ljust(MAX_BODY_BYTES)).status_code == 200


def test_a_head_may_have_16384_bytes_and_no_more(api: Api) -> None:
    assert error(api.ask("GET", "/v1/status", x="y" * 20_000)) == (431, "too-large")
    assert error(api.ask("GET", "/v1/" + "a" * 20_000)) == (431, "too-large")
    assert error(api.ask("GET", "/v1/status?" + "a" * 20_000)) == (431, "too-large")
    assert api.ask("GET", "/v1/status", x="y" * 15_000).status_code == 200


def test_a_body_in_pieces_is_counted_as_a_whole(api: Api, made: World) -> None:
    device = Device()
    body, path = pin_body(made.pin(device), made.order_envelope), f"/v1/pins/{device.device_id}"

    async def pieces(whole: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 1000):
            yield whole[start : start + 1000]

    assert error(api.ask("PUT", path, pieces(body.ljust(MAX_BODY_BYTES + 1)))) == (413, "too-large")
    assert api.ask("PUT", path, pieces(body)).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    sent: list[Message] = []

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the application must not be asked")

    async def receive() -> Message:
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(BodyLimit(never, timeout_s=0.05)({"type": "http", "method": "PUT", "headers": []}, receive, send))
    assert sent[0]["status"] == 400 and json.loads(sent[1]["body"])["error"]["code"] == "malformed"


def test_a_silent_signer_is_503_and_the_pin_stays(
    api: Api, made: World, signer: SoftwareReceiptSigner, rows: Callable[[str], int]
) -> None:
    device = Device()
    statement = made.pin(device)
    signer.fault = SignerUnavailableError("no answer")
    assert error(api.put_pin(device, statement, made.order_envelope)) == (503, "token-unavailable")
    assert error(api.ask("GET", f"/v1/pins/{device.device_id}")) == (503, "token-unavailable")
    assert rows("pins") == 1
    signer.fault = None
    assert api.put_pin(device, statement, made.order_envelope).status_code == 200


def test_a_bug_is_500_without_its_trace_and_with_one_in_the_log(
    api: Api, made: World, signer: SoftwareReceiptSigner, caplog: pytest.LogCaptureFixture
) -> None:
    signer.fault = RuntimeError("planted bug")
    device = Device()
    response = api.put_pin(device, made.pin(device), made.order_envelope)
    assert error(response) == (500, "internal")
    assert "planted bug" not in response.text
    assert any(record.exc_info and "planted bug" in str(record.exc_info[1]) for record in caplog.records)


def test_a_database_that_fails_is_503(
    api: Api, made: World, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE pins RENAME TO elsewhere")
    device = Device()
    response = api.put_pin(device, made.pin(device), made.order_envelope)
    assert error(response) == (503, "store-failed")
    assert "elsewhere" not in response.text and "SELECT" not in response.text
    assert any(record.exc_info for record in caplog.records)


def test_status(api: Api) -> None:
    response = api.ask("GET", "/v1/status")
    assert response.status_code == 200
    assert response.json() == {
        "registry": "registry-01",
        "environment": "demo",
        "root_sha256": "ab" * 32,
        "root_version": 1,
        "version": "1.2.3",
        "trouble": "",
        "device_service": "this registry has no device service: relay_socket in its settings is empty",
    }


# ---- the OpenAPI document


def fits(schema: dict[str, Any], value: Any, whole: dict[str, Any]) -> bool:
    """As much of JSON Schema as the document uses; properties that the schema does not know are not taken."""
    if "$ref" in schema:
        return fits(whole["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], value, whole)
    if "anyOf" in schema:
        return any(fits(each, value, whole) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "null":
            return value is None
        case "string":
            return isinstance(value, str)
        case "integer":
            return isinstance(value, int)
        case "array":
            return isinstance(value, list) and all(fits(schema["items"], each, whole) for each in value)
        case "object":
            known = schema["properties"]
            return (
                isinstance(value, dict)
                and set(schema["required"]) <= set(value) <= set(known)
                and all(fits(known[name], each, whole) for name, each in value.items())
            )
        case other:
            raise AssertionError(other)


def test_the_openapi_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for it, and making it keeps the event loop from everybody else."""
    app, made, describe = FastAPI(openapi_url=None), [], msgspec.json.schema_components

    def counted(*kinds: Any, **options: Any) -> Any:
        made.append(kinds)
        return describe(*kinds, **options)

    async def ask() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://here") as client:
            return [await client.get("/openapi.json") for _ in range(2)]

    openapi.install(app, ROUTES)
    monkeypatch.setattr(msgspec.json, "schema_components", counted)
    first, second = asyncio.run(ask())
    assert first.content == second.content and "components" in first.json()
    assert first.headers["content-type"] == "application/json"
    assert len(made) == 1


def test_the_openapi_document_is_true(api: Api, made: World) -> None:
    """Every answer of every kind fits what the document says of its route and status; a changed one does not."""
    document = api.ask("GET", "/openapi.json").json()
    device = Device()
    pin, plain = "/v1/pins/{device_id}", f"/v1/pins/{device.device_id}"
    statement = made.pin(device)
    order, plain_order = "/v1/orders/{order_sha256}", f"/v1/orders/{made.order_envelope.payload_sha256}"
    seen = [
        ("get", order, api.ask("GET", plain_order)),
        ("post", order + "/raises", api.ask("POST", plain_order + "/raises", b"")),
        ("get", "/v1/status", api.ask("GET", "/v1/status")),
        ("get", pin, api.ask("GET", plain)),
        ("put", pin, api.put_pin(device, statement, made.order_envelope)),
        ("put", pin, api.put_pin(device, made.pin(device), made.order_envelope)),
        ("put", pin, api.ask("PUT", plain, b"")),
        ("put", pin, api.ask("PUT", plain, b"x" * 70_000)),
        ("put", pin, api.put_pin(device, made.pin(device, product="kettle"), made.order_envelope)),
        ("put", pin + "/completion", api.ask("PUT", plain + "/completion", b"")),
        ("get", pin, api.ask("GET", plain)),
        ("get", order, api.ask("GET", plain_order)),
        ("get", pin, api.ask("GET", "/v1/pins/01")),
        ("post", "/v1/leases", api.ask("POST", "/v1/leases", b"")),
        ("post", "/v1/leases", api.ask("POST", "/v1/leases", b"x" * 70_000)),
        ("post", "/v1/leases", api.ask("POST", "/v1/leases", b'{"request":%s}' % statement.to_json())),
        ("get", pin, api.ask("GET", plain, authorization="DPoP nonsense")),
        ("post", "/oauth/token", api.ask("POST", "/oauth/token", b"")),
        ("post", "/oauth/token", api.ask("POST", "/oauth/token", b"x" * 70_000)),
    ]
    for method, path, response in seen:
        described = document["paths"][path][method]["responses"][str(response.status_code)]["content"][
            "application/json"
        ]["schema"]
        assert fits(described, response.json(), document), (method, path, response.status_code)
        assert not fits(described, response.json() | {"more": 1}, document)
    asked = document["paths"][pin]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert fits(asked, json.loads(pin_body(statement, made.order_envelope)), document)
    assert set(document["paths"]) == {each.path for each in ROUTES}
    assert json.dumps(document).count("HTTPValidationError") == 0


def test_nothing_waits_for_a_client_that_left() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append("app")

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        asked.append("send")

    async def run() -> Awaitable[None] | None:
        await BodyLimit(app)({"type": "http", "method": "PUT", "headers": []}, gone, send)
        return None

    asyncio.run(run())
    assert asked == []
