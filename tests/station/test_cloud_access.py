"""The station's access token at a real registry process: asked for once, renewed in time, refused with a remedy."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from hsm.signer import SignerError, SignerUnavailableError
from registry.access.caller import Scope, stations
from registry.access.client_credentials import GRANT_TYPE
from registry.access.guard import Heading
from registry.access.oauth import OAuthError, read_form
from registry.access.opening import open_door
from registry.database import Database, sqlite_url
from registry.messages import error_answer
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.access import Access, Heard
from station.cloud.dpop import DpopKey
from station.cloud.http import HttpCloud
from station.leaves import classify
from tests import empty
from tests.registry.access import StationClient, access_of, station_of
from tests.registry.make import Device, ec_key, world
from tests.registry.running import Plant, running
from tests.station.particle_cloud import HTML, Certificate, Liar, served
from trust.codes import Code
from trust.identity import DeviceId

ANY = DeviceId(b"\x01" * 12)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    empty.registry_database(tmp_path / "registry.db")
    opened = Database.open(sqlite_url(tmp_path / "registry.db"))
    yield opened
    opened.close()


@dataclass(slots=True)
class Asserting:
    """A signer's one verb, counted."""

    station: StationClient
    asked: list[str] = field(default_factory=list)
    fault: Exception | None = None

    async def client_assertion(self, audience: str) -> str:
        self.asked.append(audience)
        if self.fault is not None:
            raise self.fault
        return self.station.assertion(aud=audience)


@dataclass(slots=True)
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def signer(plant: Plant) -> Asserting:
    return Asserting(station_of(plant.made))


def acting(
    plant: Plant, signer: Asserting, act: Callable[[HttpCloud], Awaitable[None]], *, url: str = "", **more: object
) -> None:
    async def run() -> None:
        access = Access(plant.made.trusted.root.registry_url, signer, **more)
        cloud = HttpCloud(url or plant.url, plant.tls_root, access=access)
        try:
            await act(cloud)
        finally:
            await cloud.close()

    asyncio.run(run())


def refused(plant: Plant, signer: Asserting, **more: object) -> CloudRefusedError:
    found = []

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudRefusedError) as caught:
            await cloud.history(ANY)
        found.append(caught.value)

    acting(plant, signer, act, **more)
    return found[0]


def test_many_requests_at_once_cost_one_assertion(plant: Plant, signer: Asserting) -> None:
    async def act(cloud: HttpCloud) -> None:
        assert await asyncio.gather(*(cloud.history(ANY) for _ in range(20))) == [None] * 20

    acting(plant, signer, act)
    assert signer.asked == [plant.made.trusted.root.registry_url]


def test_slots_that_wait_for_one_token_share_what_comes_of_it(signer: Asserting, plant: Plant) -> None:
    """A registry that answers nothing costs all of them one time-out, and not one after the other."""

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)
        writer.close()

    async def run() -> float:
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
            access = Access(plant.made.trusted.root.registry_url, signer)
            cloud, began = HttpCloud(url, plant.tls_root, access=access, timeout_s=0.5), time.monotonic()
            found = await asyncio.gather(*(cloud.history(ANY) for _ in range(8)), return_exceptions=True)
            took_s = time.monotonic() - began
            await cloud.close()
        assert all(isinstance(each, CloudUnreachableError) for each in found)
        return took_s

    assert asyncio.run(run()) < 3, "one after the other it is 4 s"
    assert signer.asked == []


def test_who_gives_up_waiting_takes_the_token_from_nobody_else(plant: Plant, signer: Asserting) -> None:
    async def act(cloud: HttpCloud) -> None:
        first, second = (asyncio.create_task(cloud.history(ANY)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is None

    acting(plant, signer, act)
    assert len(signer.asked) == 1


def test_a_token_is_renewed_before_it_is_over(plant: Plant, signer: Asserting) -> None:
    clock = Clock()

    async def act(cloud: HttpCloud) -> None:
        await cloud.history(ANY)
        clock.now_s += 500
        await cloud.history(ANY)
        assert len(signer.asked) == 1
        clock.now_s += 50
        await cloud.history(ANY)
        assert len(signer.asked) == 2

    acting(plant, signer, act, monotonic=clock)


async def shown(signer: Asserting, life_s: int, steps: tuple[float, ...]) -> list[int]:
    """How many assertions were made after each request; the clock goes on by a step behind each."""
    clock, made = Clock(), list[int]()

    async def granted(_path: str, _form: bytes, _headers: Mapping[str, str]) -> Heard:
        await asyncio.sleep(0)
        return Heard(200, b'{"access_token":"abc","expires_in":%d}' % life_s, "nonce")

    access = Access("https://registry.example", signer, monotonic=clock)
    access.heard("nonce")
    try:
        for step in steps:
            async with asyncio.timeout(10):  # a token that is never good enough would be asked for without end
                assert (await access.headers("GET", "/", granted))["authorization"] == "DPoP abc"
            made.append(len(signer.asked))
            clock.now_s += step
    finally:
        await access.close()
    return made


@pytest.mark.parametrize(
    ("life_s", "steps", "wanted"),
    [(60, (29, 2, 29), [1, 1, 2]), (1, (0.4, 0.2, 0), [1, 1, 2]), (600, (539, 2, 0), [1, 1, 2])],
)
def test_a_fresh_token_is_used_however_short_its_life(
    signer: Asserting, life_s: int, steps: tuple[float, ...], wanted: list[int]
) -> None:
    assert asyncio.run(shown(signer, life_s, steps)) == wanted


@pytest.mark.parametrize("life_s", [0, -60])
def test_a_token_that_is_over_is_no_answer(signer: Asserting, life_s: int) -> None:
    with pytest.raises(CloudUnreachableError, match="200, not an answer of the registry"):
        asyncio.run(shown(signer, life_s, (0.0,)))
    assert len(signer.asked) == 1


def test_a_token_that_the_registry_has_lost_is_asked_for_again(plant: Plant, signer: Asserting) -> None:
    async def act(cloud: HttpCloud) -> None:
        await cloud.history(ANY)
        with closing(sqlite3.connect(plant.directory / "registry.db", isolation_level=None)) as opened:
            assert opened.execute("DELETE FROM access_tokens").rowcount
        assert await cloud.history(ANY) is None
        assert len(signer.asked) == 2

    acting(plant, signer, act)


def test_a_nonce_that_is_none_is_replaced_and_the_request_sent_once_more(plant: Plant, signer: Asserting) -> None:
    async def act(cloud: HttpCloud) -> None:
        await cloud.history(ANY)
        assert cloud._access is not None
        cloud._access.heard("A" * 22)
        assert await cloud.history(ANY) is None

    acting(plant, signer, act)
    assert len(signer.asked) == 1


def test_a_registry_that_is_away_costs_no_signature(plant: Plant, signer: Asserting) -> None:
    async def act(cloud: HttpCloud) -> None:
        for _ in range(3):
            with pytest.raises(CloudUnreachableError, match="nobody listens there"):
                await cloud.history(ANY)

    acting(plant, signer, act, url="https://localhost:9")
    assert signer.asked == []


@pytest.mark.parametrize(
    "fault", [SignerUnavailableError("the signer is away"), SignerError(Code.TOKEN_UNAVAILABLE, "the token is away")]
)
def test_without_its_signer_a_station_cannot_ask(plant: Plant, signer: Asserting, fault: Exception) -> None:
    signer.fault = fault

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudUnreachableError, match=r"for want of an access token: the .* is away"):
            await cloud.history(ANY)
        assert (await cloud.status()).root_version == 1
        signer.fault = None
        assert await cloud.history(ANY) is None

    acting(plant, signer, act)


def test_a_station_that_the_root_does_not_name(plant: Plant, signer: Asserting) -> None:
    signer.station.name = "station-09"
    error = refused(plant, signer)
    assert error.code is Code.CLIENT_UNKNOWN
    assert "names no station 'station-09'" in str(error) and "have it enrolled" in str(error)
    assert classify(error).code == "access-refused"
    assert len(signer.asked) == 1


def test_another_signer_under_the_stations_name(plant: Plant, signer: Asserting) -> None:
    signer.station.key = ec_key()
    error = refused(plant, signer)
    assert error.code is Code.ASSERTION_INVALID and "must have the same trust root" in str(error)


@pytest.mark.parametrize("by_s", [-100, 40])
def test_a_signer_whose_clock_is_wrong(plant: Plant, signer: Asserting, by_s: int) -> None:
    signer.station.now = lambda: time.time() + by_s
    error = refused(plant, signer)
    assert error.code is Code.ASSERTION_TIME
    assert "by the signer's clock, here it is" in str(error) and "set the clock" in str(error)
    assert classify(error).code == "clocks-differ"


@pytest.mark.parametrize("by_s", [-40, 40])
def test_a_station_whose_clock_is_wrong(
    plant: Plant, signer: Asserting, by_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("station.cloud.access.DpopKey", lambda: DpopKey(now=lambda: time.time() + by_s))
    error = refused(plant, signer)
    assert error.code is Code.DPOP_INVALID and "set the clock of this machine" in str(error)
    assert classify(error).code == "clocks-differ"


def test_a_station_sends_its_own_statements_only(plant: Plant, signer: Asserting) -> None:
    made, device = plant.made, Device()
    theirs = made.pin(device, station="station-02")

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudRefusedError) as caught:
            await cloud.pin(device.device_id, theirs, made.order_envelope)
        assert caught.value.code is Code.NOT_AUTHORISED

    acting(plant, signer, act)


def test_a_device_of_an_order_that_does_not_name_the_station_is_not_shown(plant: Plant, signer: Asserting) -> None:
    made, device = plant.made, Device()
    alone = made.with_order(order_id="order-8", stations={"station-01": made.order.stations["station-01"]})

    async def run() -> None:
        first = HttpCloud(plant.url, plant.tls_root, access=access_of(made))
        other = HttpCloud(plant.url, plant.tls_root, access=access_of(made, "station-02"))
        await first.pin(device.device_id, alone.pin(device), alone.order_envelope)
        assert await first.history(device.device_id) is not None
        with pytest.raises(CloudRefusedError) as caught:
            await other.history(device.device_id)
        assert caught.value.code is Code.DEVICE_OF_OTHERS
        assert classify(caught.value).code == "other-order"
        shared = Device()
        await first.pin(shared.device_id, made.pin(shared), made.order_envelope)
        assert await other.history(shared.device_id) is not None
        await first.close()
        await other.close()

    asyncio.run(run())


def test_an_address_that_ends_with_a_slash(database: Database) -> None:
    """Station and registry make the same address of it, and neither doubles the slash."""
    made = world(registry_url="https://registry.example/")
    door = open_door(database, made.trusted.root)

    async def ask(path: str, form: bytes, headers: Mapping[str, str]) -> Heard:
        heading = Heading(method="POST", path=path, dpop=(headers["dpop"],))
        try:
            granted = door.grants[GRANT_TYPE](read_form("application/x-www-form-urlencoded", form), heading)
        except OAuthError as error:
            return Heard(400, msgspec.json.encode(error.refusal), dict(error.headers).get("dpop-nonce"))
        return Heard(200, msgspec.json.encode(granted.answer), None)

    shown = asyncio.run(access_of(made).headers("GET", "/v1/x", ask))
    heading = Heading(method="GET", path="/v1/x", authorization=(shown["authorization"],), dpop=(shown["dpop"],))
    assert door.guard.admit(stations(Scope.PINS_READ), heading).caller is not None


def test_two_stations_share_no_key(plant: Plant) -> None:
    keys = {DpopKey()._header for _ in range(20)}
    assert len(keys) == 20


def test_no_secret_in_what_is_shown(plant: Plant, signer: Asserting) -> None:
    access = Access(plant.made.trusted.root.registry_url, replace(signer))
    access._token = "s" * 43
    assert "sss" not in repr(access)


def test_a_registry_that_gives_no_token_for_want_of_its_database_says_so(tmp_path: Path) -> None:
    own, text = Certificate.make(tmp_path), "the registry's database failed: ask its operator"
    said = (503, "application/json", error_answer(Code.STORE_FAILED, text))
    for answer, shown in ((said, f"503 store-failed: {text}"), (HTML, "502, not an answer of the registry")):

        async def run(url: str) -> None:
            signer = Asserting(station_of(world()))
            cloud = HttpCloud(url, ssl.PEM_cert_to_DER_cert(own.pem), access=Access(url, signer), timeout_s=10)
            try:
                await cloud.history(ANY)
            finally:
                await cloud.close()

        with served(Liar({("POST", "/oauth/token"): answer}), own) as url:
            with pytest.raises(CloudUnreachableError, match="no access token: POST") as caught:
                asyncio.run(run(url))
            assert shown in str(caught.value)
