"""Every twisted assertion, form, proof and token is refused, with the right code; untwisted each is taken.

Each twist changes one thing (tests/registry/twists.py). What is refused uses nothing up and leaves nothing behind. The
clock stands still, so that its edges are edges.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from registry.access import jws
from registry.access.caller import Role, Scope, StationCaller, either, people, stations
from registry.access.denied import DeniedError
from registry.access.guard import Heading
from registry.access.opening import open_door
from registry.app import create_app
from registry.database import Database, sqlite_url
from registry.messages import StatusAnswer
from registry.pins.acts import ActService
from registry.pins.service import PinService
from registry.services import Services
from tests.registry.access import StationClient, b64, part, station_of
from tests.registry.make import Device, World, ec_key, public, signed, world
from tests.registry.twists import ASSERTIONS_TAKEN, FORMS, Made, N, assertions, dpops, encoded

NOON = datetime(2026, 11, 30, 12, 0, 30, tzinfo=UTC)
TOKEN_PATH, PATH = "/oauth/token", "/v1/pins/" + "ab" * 12
STATUS = StatusAnswer(registry="r", environment="demo", root_sha256="", root_version=1, version="1", trouble="")
BAD_REQUEST = {"dpop-invalid": "invalid_dpop_proof", "dpop-nonce": "use_dpop_nonce", "scope-missing": "invalid_scope"}


@dataclass(slots=True)
class Registry:
    """An application whose clock is ours, and two stations."""

    database: Database
    made: World
    now: datetime = NOON
    root: Any = None
    stations: dict[str, StationClient] = field(default_factory=dict)

    def station(self, name: str = "station-01") -> StationClient:
        """With a nonce, and a token that it has not used yet."""
        if name not in self.stations:
            self.stations[name] = station_of(self.made, name, now=self.seconds)
            self.run(self.stations[name].sign_in)
        return self.stations[name]

    def seconds(self) -> float:
        return self.now.timestamp()

    def run(self, act: Callable[[httpx2.AsyncClient], Awaitable[Any]]) -> Any:
        trusted = self.made.trusted if self.root is None else msgspec.structs.replace(self.made.trusted, root=self.root)
        door = open_door(self.database, trusted.root, now=lambda: self.now)
        asked: dict[str, Any] = {
            "pins": PinService(self.database, trusted, self.made.signer()),
            "acts": ActService(self.database, trusted, self.made.signer()),
            "guard": door.guard,
            "grants": door.grants,
            "status": STATUS,
        }
        services = Services(**{each.name: asked.get(each.name) for each in fields(Services)})  # the rest is not asked

        async def running() -> Any:
            transport = httpx2.ASGITransport(create_app(services), raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="https://registry") as client:
                return await act(client)

        return asyncio.run(running())

    def post(
        self, form: bytes, *proofs: str, content_type: str = "application/x-www-form-urlencoded"
    ) -> httpx2.Response:
        headers = [("content-type", content_type), *(("dpop", each) for each in proofs)]
        return self.run(lambda client: client.post(TOKEN_PATH, content=form, headers=headers))

    def get(self, *headers: tuple[str, str], path: str = PATH) -> httpx2.Response:
        return self.run(lambda client: client.get(path, headers=list(headers)))

    def rows(self) -> tuple[int, int]:
        """Tokens, and what was used up."""
        with self.database.read() as connection:
            return tuple(  # type: ignore[return-value]
                connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
                for table in ("access_tokens", "used_once")
            )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, migrated: bytes) -> Iterator[Registry]:
    path = tmp_path_factory.mktemp("twisted") / "registry.db"
    path.write_bytes(migrated)
    made = Registry(Database.open(sqlite_url(path)), world())
    made.station("station-02")
    made.station()
    yield made
    made.database.close()


def refused(response: httpx2.Response) -> str:
    """The code of a refusal by the token endpoint, in OAuth's form and no other."""
    said = response.json()
    assert response.status_code == 400 and set(said) == {"error", "error_description", "code"}, response.text
    assert response.headers["cache-control"] == "no-store"
    assert not set(said["error_description"]) - {chr(each) for each in range(0x20, 0x7F)} | {'"', "\\"} & set(
        said["error_description"]
    )
    if said["code"] in BAD_REQUEST:
        assert said["error"] == BAD_REQUEST[said["code"]]
    elif said["code"] == "malformed":
        assert said["error"] in {"invalid_request", "unsupported_grant_type"}
    else:
        assert said["error"] == "invalid_client"
    assert (said["code"] == "dpop-nonce") == ("dpop-nonce" in response.headers)
    return said["code"]


def denied(response: httpx2.Response) -> str:
    """The code of a refusal by the guard, with what goes with it."""
    said = response.json()
    assert response.status_code in {401, 403} and set(said) == {"error"}, response.text
    code = said["error"]["code"]
    if response.status_code == 401:
        assert "DPoP" in response.headers["www-authenticate"] or "Bearer" in response.headers["www-authenticate"]
    errors = {
        "dpop-invalid": "invalid_dpop_proof",
        "dpop-nonce": "use_dpop_nonce",
        "access-token-invalid": "invalid_token",
    }
    if code in errors:
        assert f'error="{errors[code]}"' in response.headers["www-authenticate"]
    if code.startswith("dpop"):
        assert response.headers["dpop-nonce"]
    return code


_STAND_IN = StationClient("station-02", ec_key(), "")  # for names only: the tests take the registry's own
_NAMES = world().stations["station-01"]
ASSERTIONS = [what for what, _, _ in assertions(_STAND_IN, _NAMES)]
PROOFS = [what for what, _, _ in dpops("POST", TOKEN_PATH, None, _STAND_IN)]
SHOWN = [what for what, _, _ in dpops("GET", PATH, "A" * 43, _STAND_IN)]


def test_there_are_many_and_no_two_have_one_name() -> None:
    every = [ASSERTIONS, PROOFS, SHOWN, [what for what, *_ in FORMS]]
    assert all(len(set(each)) == len(each) for each in every)
    assert sum(map(len, every)) >= 500, sum(map(len, every))


@pytest.mark.parametrize("number", range(len(ASSERTIONS)), ids=ASSERTIONS)
def test_a_twisted_assertion(registry: Registry, number: int) -> None:
    station = registry.station()
    what, twist, code = list(assertions(registry.station("station-02"), registry.made.stations["station-01"]))[number]
    before = registry.rows()
    response = registry.post(encoded(twist(station)), station.proof("POST", TOKEN_PATH))
    assert refused(response) == code, what
    assert registry.rows() == before


@pytest.mark.parametrize(("what", "twist"), ASSERTIONS_TAKEN, ids=[what for what, _ in ASSERTIONS_TAKEN])
def test_control_an_assertion_that_is_not_twisted_is_taken(registry: Registry, what: str, twist: Any) -> None:
    station, before = registry.station(), registry.rows()
    response = registry.post(encoded(twist(station)), station.proof("POST", TOKEN_PATH))
    assert response.status_code == 200, response.text
    said = response.json()
    assert set(said) == {"access_token", "token_type", "expires_in", "scope"}
    assert (said["token_type"], said["expires_in"]) == ("DPoP", 600)
    assert said["scope"] == "leases:write pins:read pins:write roster:read"
    assert response.headers["cache-control"] == "no-store"
    assert registry.rows() == (before[0] + 1, before[1] + 2)


@pytest.mark.parametrize(("what", "form", "code"), FORMS, ids=[what for what, *_ in FORMS])
def test_a_twisted_form(registry: Registry, what: str, form: Any, code: str) -> None:
    station, before = registry.station(), registry.rows()
    assert refused(registry.post(form(station), station.proof("POST", TOKEN_PATH))) == code
    assert registry.rows() == before


@pytest.mark.parametrize("kind", ["", "application/json", "text/plain", "multipart/form-data; boundary=x"])
def test_a_form_that_is_called_something_else(registry: Registry, kind: str) -> None:
    station = registry.station()
    response = registry.post(station.form(), station.proof("POST", TOKEN_PATH), content_type=kind)
    assert refused(response) == "malformed"


def test_control_a_form_with_what_nobody_knows_and_less_scope(registry: Registry) -> None:
    station = registry.station()
    form = station.form(scope="pins:read", client_id="station-01", resource="https://elsewhere.example")
    kind = "Application/X-WWW-Form-URLEncoded; charset=UTF-8"
    response = registry.post(form, station.proof("POST", TOKEN_PATH), content_type=kind)
    assert response.json()["scope"] == "pins:read"


@pytest.mark.parametrize("number", range(len(PROOFS)), ids=PROOFS)
def test_a_twisted_proof_at_the_token_endpoint(registry: Registry, number: int) -> None:
    station = registry.station()
    what, twist, code = list(dpops("POST", TOKEN_PATH, None, registry.station("station-02")))[number]
    before = registry.rows()
    assert refused(registry.post(station.form(), header(twist(station)))) == code, what
    assert registry.rows() == before


def test_a_token_without_a_proof_and_with_two(registry: Registry) -> None:
    station = registry.station()
    proofs = [station.proof("POST", TOKEN_PATH) for _ in range(2)]
    assert refused(registry.post(station.form())) == "dpop-invalid"
    assert refused(registry.post(station.form(), *proofs)) == "dpop-invalid"


@pytest.mark.parametrize("number", range(len(SHOWN)), ids=SHOWN)
def test_a_twisted_proof_with_a_token(registry: Registry, number: int) -> None:
    station = registry.station()
    assert station.token is not None
    what, twist, code = list(dpops("GET", PATH, station.token, registry.station("station-02")))[number]
    before = registry.rows()
    response = registry.get(("authorization", f"DPoP {station.token}"), ("dpop", header(twist(station))))
    assert denied(response) == code, what
    assert registry.rows() == before


def header(proof: str) -> str:
    """As a client sends it: a line break cannot be in a header, and bytes are Latin-1."""
    return proof.replace("\n", "\t")


def show(registry: Registry, station: StationClient, **changes: str) -> httpx2.Response:
    shown = {**station.headers("GET", PATH), **changes}
    return registry.get(*shown.items())


def test_control_a_proof_that_is_not_twisted_is_taken(registry: Registry) -> None:
    before = registry.rows()
    assert show(registry, registry.station()).json()["error"]["code"] == "not-pinned"
    assert registry.rows() == (before[0], before[1] + 1)


@pytest.mark.parametrize("by_s", [-30, 30])
def test_control_the_edges_of_a_proofs_time(registry: Registry, by_s: int) -> None:
    station = registry.station()
    proof = station.proof("GET", PATH, station.token, iat=int(station.now()) + by_s)
    assert show(registry, station, dpop=proof).status_code == 404


def tokens(token: str) -> dict[str, tuple[list[tuple[str, str]], str]]:
    other = token[:-2] + ("AA" if token[-2:] != "AA" else "BA")
    return {
        "nothing": ([], "access-token-needed"),
        "no scheme": ([("authorization", token)], "access-token-needed"),
        "Basic": ([("authorization", f"Basic {token}")], "access-token-needed"),
        "no token": ([("authorization", "DPoP ")], "access-token-needed"),
        "twice": ([("authorization", f"DPoP {token}")] * 2, "access-token-needed"),
        "as a person's": ([("authorization", f"Bearer {token}")], "access-token-invalid"),
        "another": ([("authorization", f"DPoP {other}")], "access-token-invalid"),
        "cut short": ([("authorization", f"DPoP {token[:-1]}")], "access-token-invalid"),
        "with padding": ([("authorization", f"DPoP {token}=")], "access-token-invalid"),
        "longer": ([("authorization", f"DPoP {token}AA")], "access-token-invalid"),
        "with loose bits": ([("authorization", f"DPoP {token[:-1]}{chr(ord(token[-1]) + 1)}")], "access-token-invalid"),
        "not base64url": ([("authorization", "DPoP ****")], "access-token-invalid"),
        "SQL": ([("authorization", "DPoP ' OR 1=1 --")], "access-token-invalid"),
        "a JWT": ([("authorization", "DPoP eyJhbGciOiJub25lIn0.e30.")], "access-token-invalid"),
        "two spaces": ([("authorization", f"DPoP  {token}")], "access-token-invalid"),
    }


@pytest.mark.parametrize("what", tokens("A" * 43))
def test_a_twisted_token(registry: Registry, what: str) -> None:
    station = registry.station()
    assert station.token is not None
    headers, code = tokens(station.token)[what]
    shown = headers[0][1].partition(" ")[2] if len(headers) == 1 else station.token
    assert denied(registry.get(*headers, ("dpop", station.proof("GET", PATH, shown)))) == code


def test_a_token_in_the_address_or_without_a_proof(registry: Registry) -> None:
    station = registry.station()
    assert denied(registry.get(path=f"{PATH}?access_token={station.token}")) == "access-token-needed"
    assert denied(registry.get(("authorization", f"DPoP {station.token}"))) == "dpop-invalid"


def test_a_stolen_token_without_its_key(registry: Registry) -> None:
    """Whoever read the token, and even the proofs that went with it, cannot use it."""
    station = registry.station()
    seen = station.headers("GET", PATH)
    assert registry.get(*seen.items()).status_code == 404
    thief = station_of(registry.made, now=station.now, nonce=station.nonce, token=station.token)
    assert public(thief.dpop) != public(station.dpop)
    assert denied(show(registry, thief)) == "dpop-invalid"
    assert denied(registry.get(*seen.items())) == "dpop-invalid"  # the proof that was seen, once more
    assert denied(registry.get(*seen.items(), path=PATH[:-2] + "00")) == "dpop-invalid"


def test_a_stolen_token_pins_nothing_even_with_its_key(registry: Registry) -> None:
    """A pin is a statement that the station's signer signs."""
    made, station, device = registry.made, registry.station(), Device()
    forged = made.pin_statement(device)
    body = b'{"statement":%s,"order":%s}' % (signed(forged, ec_key()).to_json(), made.order_envelope.to_json())
    path = f"/v1/pins/{device.device_id}"
    response = registry.run(lambda client: station.ask(client, "PUT", path, body))
    assert (response.status_code, response.json()["error"]["code"]) == (403, "statement-invalid")


def test_each_is_good_once(registry: Registry) -> None:
    station = registry.station()
    form, proof = station.form(), station.proof("POST", TOKEN_PATH)
    assert registry.post(form, proof).status_code == 200
    assert refused(registry.post(form, proof)) == "assertion-used"
    assert refused(registry.post(form, station.proof("POST", TOKEN_PATH))) == "assertion-used"
    assert refused(registry.post(station.form(), proof)) == "dpop-invalid"
    shown = station.headers("GET", PATH)
    assert registry.get(*shown.items()).status_code == 404
    assert denied(registry.get(*shown.items())) == "dpop-invalid"


def test_the_other_signature_of_an_assertion_is_the_same_assertion(registry: Registry) -> None:
    """Of r and s there is always r and n - s as well: what is good once is the `jti`, not the bytes."""
    station = registry.station()
    first = station.assertion()
    head, payload, signature = first.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    twin = f"{head}.{payload}.{b64(raw[:32] + (N - int.from_bytes(raw[32:], 'big')).to_bytes(32, 'big'))}"
    assert registry.post(encoded(first), station.proof("POST", TOKEN_PATH)).status_code == 200
    assert refused(registry.post(encoded(twin), station.proof("POST", TOKEN_PATH))) == "assertion-used"


def test_two_stations_may_have_one_jti(registry: Registry) -> None:
    for name in ("station-01", "station-02"):
        station = registry.station(name)
        form = encoded(station.assertion(jti="shared-by-both-stations"))
        assert registry.post(form, station.proof("POST", TOKEN_PATH)).status_code == 200


# ---- controls: each is refused for the rule that it breaks, and for no other reason


def _lax_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.replace("\t", "") + "==")


def _lax_object(data: bytes, _what: str) -> Any:
    return json.loads(data)


def _lax_parse(**rules: Any) -> Callable[..., Any]:
    """`jws.parse` with one rule left out."""

    def parse(token: str, *, typ: str, members: frozenset[str]) -> Any:
        given = token.split(".", maxsplit=1)[0]
        header = json.loads(base64.urlsafe_b64decode(given + "=="))
        if "typ" in rules:
            typ = header.get("typ")
        if "members" in rules:
            members = frozenset(header)
        return STRICT_PARSE(token, typ=typ, members=members)

    return parse


STRICT_PARSE = jws.parse
NOTHING: Callable[..., None] = lambda *_: None  # noqa: E731
LAX: list[tuple[str, str, Any, str, str]] = [
    # module, name, what stands there instead, which list, which twist
    ("registry.access.assertion", "parse", _lax_parse(members=True), "assertion", "jku in the header"),
    ("registry.access.assertion", "parse", _lax_parse(members=True), "assertion", "crit in the header"),
    ("registry.access.assertion", "parse", _lax_parse(members=True), "assertion", "b64 in the header"),
    ("registry.access.assertion", "parse", _lax_parse(typ=True), "assertion", "typ is 'JWT'"),
    ("registry.access.assertion", "_verify", NOTHING, "assertion", "signed by another key"),
    ("registry.access.assertion", "_verify", NOTHING, "assertion", "r = s = 0"),
    ("registry.access.assertion", "_verify", NOTHING, "assertion", "signed by another station"),
    ("registry.access.assertion", "_verify", NOTHING, "assertion", "kid is '../../dev/null'"),
    ("registry.access.assertion", "_verify", NOTHING, "assertion", "signed by the station's pin key"),
    ("registry.access.assertion", "_require_time", NOTHING, "assertion", "begun in 31 s"),
    ("registry.access.assertion", "_require_time", NOTHING, "assertion", "for ever"),
    ("registry.access.jws", "decode", _lax_base64, "assertion", "signature: loose bits"),
    ("registry.access.jws", "decode", _lax_base64, "assertion", "header: padding"),
    ("registry.access.jws", "json_object", _lax_object, "assertion", "header: typ twice"),
    ("registry.access.jws", "json_object", _lax_object, "assertion", "payload: jti twice"),
    ("registry.access.jws", "json_object", _lax_object, "assertion", "payload: jti twice, once escaped"),
    ("registry.access.dpop", "parse", _lax_parse(members=True), "proof", "kid in the header"),
    ("registry.access.dpop", "parse", _lax_parse(typ=True), "proof", "typ is 'JWT'"),
    ("registry.access.dpop", "_JWK", frozenset({"crv", "kty", "x", "y", "d"}), "proof", "d in jwk"),
    ("registry.access.dpop", "_require_request", NOTHING, "proof", "htm is 'HEAD'"),
    ("registry.access.dpop", "_require_request", NOTHING, "proof", "htu is with a query"),
    ("registry.access.dpop", "_require_request", NOTHING, "shown", "no ath"),
    ("registry.access.dpop", "_require_request", NOTHING, "shown", "ath is of another token"),
    ("registry.access.dpop", "SKEW_S", 3600, "shown", "made 31 s ago"),
]


@pytest.mark.parametrize(("module", "name", "lax", "which", "what"), LAX, ids=[f"{each[3]}: {each[4]}" for each in LAX])
def test_control_a_lax_registry_takes_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, module: str, name: str, lax: Any, which: str, what: str
) -> None:
    station, other = registry.station(), registry.station("station-02")
    assert station.token is not None
    lists = {
        "assertion": assertions(other, registry.made.stations["station-01"]),
        "proof": dpops("POST", TOKEN_PATH, None, other),
        "shown": dpops("GET", PATH, station.token, other),
    }
    twisted = {each: twist for each, twist, _ in lists[which]}[what](station)

    def sent() -> int:
        if which == "assertion":
            return registry.post(encoded(twisted), station.proof("POST", TOKEN_PATH)).status_code
        if which == "proof":
            return registry.post(station.form(), twisted).status_code
        return registry.get(("authorization", f"DPoP {station.token}"), ("dpop", twisted)).status_code

    assert sent() in {400, 401}
    monkeypatch.setattr(f"{module}.{name}", lax)
    assert sent() in {200, 404}


def test_control_what_is_made_without_a_twist_is_taken(registry: Registry) -> None:
    station = registry.station()
    assertion = Made(station.key, station.assertion_header(), station.assertion_claims())
    proof = Made(station.dpop, station.proof_header(), station.proof_claims("POST", TOKEN_PATH))
    again = assertion.of(*(part(each) for each in (assertion.header, assertion.claims)))
    assert registry.post(encoded(again), proof.plain()).status_code == 200
    shown = Made(station.dpop, station.proof_header(), station.proof_claims("GET", PATH, station.token))
    assert show(registry, station, dpop=shown.plain()).status_code == 404


# ---- time goes by, and the root changes


@pytest.fixture
def alone(tmp_path: Path, migrated: bytes) -> Iterator[Registry]:
    path = tmp_path / "registry.db"
    path.write_bytes(migrated)
    made = Registry(Database.open(sqlite_url(path)), world())
    yield made
    made.database.close()


def test_a_token_ends_after_ten_minutes(alone: Registry) -> None:
    station = alone.station()
    for after_s, code in ((599, "not-pinned"), (600, "access-token-invalid")):
        alone.now = NOON + timedelta(seconds=after_s)
        response = alone.run(lambda client: station.ask(client, "GET", PATH))
        assert response.json()["error"]["code"] == code


def test_a_nonce_is_good_in_its_minute_and_the_next(alone: Registry) -> None:
    station = alone.station()
    first = station.nonce
    for after_s, status in ((29, 404), (89, 404), (90, 401)):  # NOON is at half a minute
        alone.now = NOON + timedelta(seconds=after_s)
        station.nonce = first
        response = show(alone, station)
        assert response.status_code == status
        assert ("dpop-nonce" in response.headers) == (after_s > 29)
    assert denied(response) == "dpop-nonce"


def test_a_nonce_of_a_process_whose_clock_is_ahead(alone: Registry) -> None:
    alone.now = NOON + timedelta(seconds=30)
    station = alone.station()
    alone.now = NOON + timedelta(seconds=29)
    assert show(alone, station).status_code == 404


def test_nonces_go_on_over_midnight(alone: Registry) -> None:
    alone.now = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    station = alone.station()
    alone.now += timedelta(seconds=2)
    assert show(alone, station).status_code == 404


def test_a_station_that_left_the_root_has_no_access_any_more(alone: Registry) -> None:
    """At once, with a token that was good: the registry serves the next version of the root."""
    station, root = alone.station(), alone.made.trusted.root
    assert show(alone, station).status_code == 404
    left = {name: each for name, each in root.stations.items() if name != "station-01"}
    other = msgspec.structs.replace(root.stations["station-01"], client=public(ec_key()).spki)
    for stations_then in (left, {**left, "station-01": other}):
        alone.root = msgspec.structs.replace(root, stations=stations_then)
        assert denied(show(alone, station)) == "access-token-invalid"
    alone.root = msgspec.structs.replace(root, stations=left)
    assert refused(alone.post(station.form(), station.proof("POST", TOKEN_PATH))) == "client-unknown"
    alone.root = None
    assert show(alone, station).status_code == 404


def test_a_token_with_less_scope_reaches_less(alone: Registry) -> None:
    station = alone.station()
    response = alone.post(station.form(scope="leases:write"), station.proof("POST", TOKEN_PATH))
    station.token = response.json()["access_token"]
    response = show(alone, station)
    assert denied(response) == "scope-missing"
    assert 'error="insufficient_scope", scope="pins:read"' in response.headers["www-authenticate"]


def test_what_is_over_is_swept_away(alone: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.access.sweeping.time_s", lambda _: int(alone.now.timestamp()))  # the database's clock
    station = alone.station()
    show(alone, station)
    assert alone.rows() == (1, 3)
    alone.now = NOON + timedelta(seconds=700)
    station.token = None
    alone.run(station.sign_in)
    assert alone.rows() == (1, 2)


def test_nobody_finds_a_token_in_the_database(alone: Registry) -> None:
    station = alone.station()
    assert station.token is not None
    data = Path(str(alone.database.engine.url.database)).read_bytes()
    raw = base64.urlsafe_b64decode(station.token + "=")
    assert station.token.encode() not in data and raw not in data and raw.hex().encode() not in data
    assert hashlib.sha256(raw).digest() in data  # control: what is looked at does hold the row


def test_the_guard_is_the_same_for_every_kind_of_route(registry: Registry) -> None:
    station = registry.station()
    door = open_door(registry.database, registry.made.trusted.root, now=lambda: registry.now)
    for access in (stations(Scope.PINS_READ), either(Scope.LEASES_WRITE, Role.AUDITOR)):
        assert admitted(door, access, station) == "station-01"
    with pytest.raises(DeniedError) as caught:
        admitted(door, people(Role.AUDITOR), station)
    assert caught.value.code == "not-authorised"


def admitted(door: Any, access: Any, station: StationClient) -> str:
    shown = station.headers("GET", "/v1/x")
    heading = Heading(method="GET", path="/v1/x", authorization=(shown["authorization"],), dpop=(shown["dpop"],))
    caller = door.guard.admit(access, heading).caller
    assert isinstance(caller, StationCaller)
    return caller.name
