"""Two registry processes on one database: real ones, over HTTPS. The database decides between them, in any race."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import msgspec
import pytest

from tests.registry.fleet import Fleet, make_fleet, running
from tests.registry.load import Load, connected, judge, line_of, pin_body
from tests.registry.make import Device, ec_key, signed
from tests.registry.postgres import Server
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.lease import NO_PINS, LeaseRequest, chained
from trust.merkle import EMPTY_ROOT

pytestmark = pytest.mark.timeout(60)
RIVALS = 16


@pytest.fixture(scope="module")
def fleet(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two processes that want leases, served as a role that may add and nothing more."""
    name = postgres.migrated()
    role = postgres.serving(name)
    made = make_fleet(tmp_path_factory.mktemp("fleet"), postgres.url(name, role), 2, leases=True)
    with running(made) as started:
        yield started


class Signer:
    """A station's signer as the registry sees it: asks for lease after lease, through any process."""

    def __init__(self, fleet: Fleet, station: str) -> None:
        self.fleet, self.station = fleet, station
        self.line = line_of(fleet, station)
        self.serial, self.previous, self.signed, self.head = 0, "", 0, NO_PINS

    def request(self, *pins: bytes) -> Envelope:
        made = self.fleet.made
        request = LeaseRequest(
            environment="demo", root_sha256=made.trusted.sha256, station=self.station, serial=self.serial + 1,
            previous_sha256=self.previous, signed=self.signed + len(pins), total=self.signed + len(pins),
            head=chained(self.head, pins), pins=pins, log_size=0, log_root_hash=EMPTY_ROOT,
            nonce=(JobId.new().raw * 2).hex(), made_at="2026-11-22T20:00:00Z",
        )  # fmt: skip
        return signed(request, made.stations[self.station].account)

    def ask(self, request: Envelope, port: int | None = None) -> tuple[int, bytes]:
        body = msgspec.json.encode({"request": msgspec.Raw(request.to_json())})
        return self.line.ask("POST", "/v1/leases", body, port=port)

    def renew(self) -> None:
        status, said = self.ask(self.request())
        assert status == 200, said
        lease = granted(said)
        self.serial, self.previous = self.serial + 1, lease.payload_sha256


def going_on(fleet: Fleet, station: str) -> Signer:
    """A signer with the station's newest lease."""
    newest = "SELECT serial, lease FROM leases WHERE station = %s ORDER BY serial DESC LIMIT 1"
    with connected(fleet.database_url) as connection:
        ((serial, lease),) = connection.execute(newest, [station]).fetchall()
    signer = Signer(fleet, station)
    signer.serial, signer.previous = serial, Envelope.from_json(lease).payload_sha256
    return signer


def granted(said: bytes) -> Envelope:
    return Envelope.from_json(bytes(msgspec.json.decode(said, type=dict[str, msgspec.Raw])["lease"]))


@pytest.fixture(scope="module")
def leased(fleet: Fleet) -> Fleet:
    for name in fleet.made.stations:
        Signer(fleet, name).renew()
    return fleet


def same_key() -> list[Device]:
    key = ec_key()
    return [Device(key=key) for _ in range(RIVALS)]


def same_device() -> list[Device]:
    device_id = DeviceId(JobId.new().raw[:12])
    return [Device(device_id=device_id) for _ in range(RIVALS)]


def same_job() -> list[Device]:
    job = JobId.new()
    return [Device(job=job) for _ in range(RIVALS)]


@pytest.mark.parametrize(
    ("devices", "told"),
    [
        (same_key, "409 key-on-other-device"),
        (same_device, "409 device-has-other-key"),
        (same_job, "422 job-bytes-differ"),
    ],
)
def test_of_pins_that_clash_at_two_processes_one_wins(
    devices: Callable[[], list[Device]], told: str, leased: Fleet
) -> None:
    rivals = devices()
    start, bodies = Barrier(RIVALS), [pin_body(leased, "station-01", each) for each in rivals]

    def one(number: int) -> str:
        line = line_of(leased, "station-01")
        line.ask("GET", "/v1/status", port=leased.ports[number % 2])
        start.wait()
        status, said = line.ask(
            "PUT", f"/v1/pins/{rivals[number].device_id}", bodies[number], port=leased.ports[number % 2]
        )
        line.close()
        answer = json.loads(said)
        return f"{status} {answer['state'] if status == 200 else answer['error']['code']}"

    with ThreadPoolExecutor(RIVALS) as pool:
        assert Counter(pool.map(one, range(RIVALS))) == {"200 provisional": 1, told: RIVALS - 1}


def test_the_same_pin_at_two_processes_has_one_receipt(leased: Fleet) -> None:
    device = Device()
    body = pin_body(leased, "station-01", device)
    line = [line_of(leased, "station-01") for _ in range(RIVALS)]

    def one(number: int) -> str:
        answer = line[number].put(f"/v1/pins/{device.device_id}", body, port=leased.ports[number % 2])
        return answer["receipt"].to_json().decode()

    with ThreadPoolExecutor(RIVALS) as pool:
        assert len(set(pool.map(one, range(RIVALS)))) == 1


def test_of_two_lease_requests_at_two_processes_one_is_granted(fleet: Fleet, leased: Fleet) -> None:
    """A copied signer asks at the same moment, at the other process: one lease each time, and the copy is named."""
    original, copy = going_on(fleet, "station-02"), going_on(fleet, "station-02")
    for _ in range(5):
        asked, start = [original.request(), copy.request()], Barrier(2)

        def one(number: int, asked: list[Envelope] = asked, start: Barrier = start) -> tuple[int, bytes]:
            start.wait()
            return (original, copy)[number].ask(asked[number], fleet.ports[number])

        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(one, range(2)))
        assert sorted(status for status, _ in told) == [200, 409]
        for status, said in told:
            if status == 409:
                assert json.loads(said)["error"]["code"] == "lease-conflict"
        lease = granted(next(said for status, said in told if status == 200))
        for each in (original, copy):  # the copy is copied again
            each.serial, each.previous = each.serial + 1, lease.payload_sha256


def test_the_same_lease_request_at_two_processes_is_one_lease(fleet: Fleet, leased: Fleet) -> None:
    signer = going_on(fleet, "station-01")
    request = signer.request()
    lines = [Signer(fleet, "station-01") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = set(pool.map(lambda number: lines[number].ask(request, fleet.ports[number % 2]), range(8)))
    assert {status for status, _ in told} == {200}
    assert len(told) == 1


def test_what_one_process_has_pinned_the_other_finds_and_completes(leased: Fleet) -> None:
    device, first, second = Device(), *leased.ports
    line = line_of(leased, "station-01")
    pinned = line.put(f"/v1/pins/{device.device_id}", pin_body(leased, "station-01", device), port=first)
    status, said = line.ask("GET", f"/v1/pins/{device.device_id}", port=second)
    assert status == 200 and pinned["receipt"].to_json() in said
    completion = leased.made.completion(device, pinned["statement"], pinned["receipt"])
    body = msgspec.json.encode({"completion": msgspec.Raw(completion.to_json())})
    done = [line.put(f"/v1/pins/{device.device_id}/completion", body, port=each) for each in (second, first)]
    assert done[0] == done[1] and done[0]["completion"] == completion


def test_one_process_is_killed_and_the_other_goes_on(postgres: Server, tmp_path: Path) -> None:
    name = postgres.migrated()
    with running(make_fleet(tmp_path, postgres.url(name), 2)) as fleet:
        load = Load(fleet, 4)
        load.start()
        wait_for(load, 20)
        victim = fleet.processes[0]
        victim.end(signal.SIGKILL)
        wait_for(load, len(load.told.receipts) + 20)
        victim.start()
        wait_for(load, len(load.told.receipts) + 20)
        load.stop()
    assert judge(fleet.database_url, load.told) == []


def wait_for(load: Load, count: int) -> None:
    while len(load.told.receipts) < count:
        assert not load.told.violations, load.told.violations
        time.sleep(0.02)
