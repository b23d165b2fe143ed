"""`POST /v1/leases`: granted, granted again, refused, malformed; and what the document says of each answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import msgspec
import pytest

from hsm.signer import SignerError, SignerUnavailableError
from registry.database import Database
from registry.errors import RefusedError
from registry.leases.rules import require_reported
from registry.leases.service import LeaseService
from registry.pins.service import PinService
from tests.registry.make import MADE_AT, SoftwareReceiptSigner, World, ec_key, public, signed, world
from tests.registry.test_api import Api, error, fits
from trust import lease as leases
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import NO_PINS, LeaseRequest, chained
from trust.merkle import EMPTY_ROOT
from trust.root import RegistryKeys, TrustedRoot
from trust.statement import moment, read

pytestmark = pytest.mark.both_databases

STATION = "station-01"
PIN = b"p" * 32


@dataclass(frozen=True, slots=True)
class Desk:
    """A registry whose root names a lease key, and one station's account key."""

    api: Api
    made: World
    signer: SoftwareReceiptSigner

    def request(self, **changes: Any) -> Envelope:
        """The station's first request."""
        said = LeaseRequest(
            environment="demo", root_sha256=self.made.trusted.sha256, station=STATION, serial=1, previous_sha256="",
            signed=0, total=0, head=NO_PINS, pins=(), log_size=0, log_root_hash=EMPTY_ROOT, nonce="ab" * 32, made_at=MADE_AT,
        )  # fmt: skip
        return signed(msgspec.structs.replace(said, **changes), self.made.stations[STATION].account)

    def post(self, request: Envelope) -> httpx2.Response:
        return self.api.ask("POST", "/v1/leases", b'{"request":%s}' % request.to_json())

    def granted(self, request: Envelope) -> Envelope:
        answer = self.post(request)
        assert answer.status_code == 200 and set(answer.json()) == {"lease"}
        return Envelope.from_json(json.dumps(answer.json()["lease"], separators=(",", ":")).encode())


@pytest.fixture
def desk(database: Database) -> Desk:
    receipt, lease = ec_key(), ec_key()
    made = world(registry_keys=RegistryKeys(receipt=public(receipt).spki, lease=public(lease).spki))
    signer = SoftwareReceiptSigner(made.trusted, receipt, lease_key=lease)
    service = PinService(database, made.trusted, signer)
    leases = LeaseService(database, made.trusted, signer, now=lambda: moment(MADE_AT))
    return Desk(Api.make(service, leases, database, made), made, signer)


def terms(trusted: TrustedRoot, lease: Envelope) -> tuple[int, int, int]:
    found = leases.granted(trusted, lease)
    return found.serial, found.signed, found.up_to


def test_a_first_lease_the_same_again_and_the_next(desk: Desk, rows: Callable[[str], int]) -> None:
    first = desk.request()
    lease = desk.granted(first)
    assert terms(desk.made.trusted, lease) == (1, 0, 500)
    assert desk.granted(first) == lease
    assert (rows("leases"), desk.signer.signatures) == (1, 1)
    more = desk.request(
        serial=2, previous_sha256=lease.payload_sha256, signed=1, total=1, head=chained(NO_PINS, [PIN]), pins=(PIN,)
    )
    assert terms(desk.made.trusted, desk.granted(more)) == (2, 1, 501)


def test_another_request_of_a_number_that_was_granted_is_409(desk: Desk) -> None:
    desk.granted(desk.request())
    answer = desk.post(desk.request(nonce="cd" * 32))
    assert error(answer) == (409, "lease-conflict")
    assert "restored from a backup" in answer.json()["error"]["message"]
    assert answer.json()["error"]["stored"] is None
    far = desk.request(serial=7, previous_sha256="ef" * 32)
    assert error(desk.post(far)) == (409, "lease-conflict")


@pytest.mark.parametrize(
    ("code", "changes"),
    [("wrong-environment", {"environment": "plant-1"}), ("wrong-root", {"root_sha256": "00" * 32}),
     ("not-authorised", {"station": "station-09"}), ("not-authorised", {"station": "station-02"})],
)  # fmt: skip
def test_requests_of_others_are_403(desk: Desk, code: str, changes: dict[str, str], rows: Callable[[str], int]) -> None:
    assert error(desk.post(desk.request(**changes))) == (403, code)
    assert rows("leases") == 0


def test_a_root_without_a_lease_key_gives_none(
    service: PinService, database: Database, made: World, desk: Desk
) -> None:
    leases = LeaseService(database, made.trusted, SoftwareReceiptSigner(made.trusted, made.receipt_key))
    plain = Api.make(service, leases, database, made)
    answer = plain.ask("POST", "/v1/leases", b'{"request":%s}' % desk.request().to_json())
    assert error(answer) == (403, "not-authorised")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"request":null}', b'{"request":{}}', b'{"request":%s,"more":1}']
)
def test_bodies_that_are_none_are_400(desk: Desk, body: bytes) -> None:
    whole = body % desk.request().to_json() if b"%s" in body else body
    assert error(desk.api.ask("POST", "/v1/leases", whole)) == (400, "malformed")


def test_a_silent_signer_is_503_and_the_lease_is_still_due(desk: Desk, rows: Callable[[str], int]) -> None:
    request = desk.request()
    desk.signer.fault = SignerUnavailableError("no answer")
    assert error(desk.post(request)) == (503, "token-unavailable")
    assert (rows("leases"), rows("lease_signatures")) == (1, 0)
    desk.signer.fault = None
    assert terms(desk.made.trusted, desk.granted(request)) == (1, 0, 500)
    assert (rows("leases"), rows("lease_signatures")) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (SignerError(Code.LEASE_CONFLICT, "lease 4 was granted before"), (409, "lease-conflict")),
        (SignerError(Code.WRONG_ROOT, "another root"), (500, "internal")),
        (SignerError(Code.STATEMENT_INVALID, "a year ahead"), (500, "internal")),
        (SignerError(Code.TOKEN_PIN_WRONG, "refused"), (500, "internal")),
        (SignerError(Code.STORE_FAILED, "disk full"), (503, "store-failed")),
    ],
    ids=lambda each: each.code.value if isinstance(each, SignerError) else "",
)
def test_a_signer_that_refuses_is_told_as_what_it_is(
    desk: Desk, fault: SignerError, told: tuple[int, str], rows: Callable[[str], int], caplog: pytest.LogCaptureFixture
) -> None:
    request = desk.request()
    desk.signer.fault = fault
    answer = desk.post(request)
    assert error(answer) == told
    said = answer.json()["error"]["message"]
    assert f"{fault.code}: {fault}" in said
    assert "send the same request again" not in said
    assert str(fault) in caplog.text
    assert (rows("leases"), rows("lease_signatures")) == (1, 0)
    desk.signer.fault = None
    assert terms(desk.made.trusted, desk.granted(request)) == (1, 0, 500)


def test_a_signer_with_another_key_is_no_signer_that_is_away(desk: Desk, rows: Callable[[str], int]) -> None:
    desk.signer.lease_key = ec_key()
    answer = desk.post(desk.request())
    assert error(answer) == (500, "internal")
    assert "does not sign it (statement-invalid: " in answer.json()["error"]["message"]
    assert rows("lease_signatures") == 0


def test_the_document_is_true_of_every_answer(desk: Desk) -> None:
    document = desk.api.ask("GET", "/openapi.json").json()
    described = document["paths"]["/v1/leases"]["post"]
    request = desk.request()
    answers = [
        desk.post(request),
        desk.post(desk.request(nonce="cd" * 32)),
        desk.post(desk.request(station="station-09")),
    ]
    assert [each.status_code for each in answers] == [200, 409, 403]
    for each in answers:
        schema = described["responses"][str(each.status_code)]["content"]["application/json"]["schema"]
        assert fits(schema, each.json(), document)
        assert not fits(schema, each.json() | {"more": 1}, document)
    asked = described["requestBody"]["content"]["application/json"]["schema"]
    assert fits(asked, {"request": json.loads(request.to_json())}, document)
    assert not fits(asked, {"statement": json.loads(request.to_json())}, document)


def test_a_signer_that_catches_up_may_leave_out_as_many_pins_as_it_says(desk: Desk) -> None:
    request = read(desk.request(signed=1, total=3, head=chained(NO_PINS, [PIN]), pins=(PIN,)), LeaseRequest)
    require_reported(request, ["a", "b"])
    with pytest.raises(RefusedError, match="of a, b, c"):
        require_reported(request, ["a", "b", "c"])
