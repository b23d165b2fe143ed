"""Handshakes whose device service is silent keep nobody from pinning, and what the HTTPS side says when it is away."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx2
import pytest

from registry import app, startup
from registry.device_service.relay.client import RelayClient
from registry.device_service.relay.messages import LENGTH, Refusal, framed
from registry.limits.shares import Shares
from registry.settings import Home
from registry.startup import open_registry
from tests.registry.access import StationClient, station_of
from tests.registry.fuzzing import Registry
from tests.registry.make import Device
from tests.registry.running import Plant, make_plant
from tests.registry.test_api import pin_body
from trust.codes import Code

STEP = b'{"received":[],"ended":false}'


@pytest.fixture
def plant(short_dir: Path) -> Plant:
    return make_plant(short_dir)


@pytest.fixture
def silent(plant: Plant) -> Iterator[None]:
    """A device service that takes every connection and answers none."""
    place = plant.directory / "run"
    place.mkdir(0o750)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.bind(str(place / "devices.sock"))
        line.listen(256)
        yield


def pinned_in(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> tuple[float, list[int], set[str]]:
    """How long a pin takes while sixty steps wait; and what became of those."""
    monkeypatch.setattr(startup, "RelayClient", partial(RelayClient, timeout_s=2.0))
    ready = open_registry(Home.load(plant.directory), plant.made.trusted, plant.made.signer())
    registry, device = Registry(ready.app, plant.made), Device()

    async def asked(client: httpx2.AsyncClient, station: StationClient) -> httpx2.Response:
        return await station.ask(client, "POST", f"/v1/handshakes/{'ab' * 16}", STEP)

    async def story(client: httpx2.AsyncClient) -> tuple[float, list[int], set[str]]:
        station = station_of(plant.made)
        await station.sign_in(client)
        tasks = [asyncio.create_task(asked(client, station)) for _ in range(60)]
        await asyncio.sleep(0.5)
        began = time.monotonic()
        body = pin_body(plant.made.pin(device), plant.made.order_envelope)
        response = await station.ask(client, "PUT", f"/v1/pins/{device.device_id}", body)
        took = time.monotonic() - began
        assert response.status_code == 200, response.text
        answers = await asyncio.gather(*tasks)
        codes = {each.json()["error"]["code"] for each in answers}
        assert all(each.headers["retry-after"] for each in answers)
        return took, [each.status_code for each in answers], codes

    try:
        return asyncio.run(registry.with_client(story))
    finally:
        ready.database.close()


def other_stations_step(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> tuple[float, httpx2.Response, list[int]]:
    """How long a step of another station takes while one floods; what it got, and what became of the flood."""
    monkeypatch.setattr(app, "_RELAYING", 16)
    monkeypatch.setattr(startup, "RelayClient", partial(RelayClient, timeout_s=2.5))
    ready = open_registry(Home.load(plant.directory), plant.made.trusted, plant.made.signer())

    async def story(client: httpx2.AsyncClient) -> tuple[float, httpx2.Response, list[int]]:
        hostile, other = station_of(plant.made), station_of(plant.made, "station-02")
        await hostile.sign_in(client)
        await other.sign_in(client)
        path = f"/v1/handshakes/{'ab' * 16}"
        flood = [asyncio.create_task(hostile.ask(client, "POST", path, STEP)) for _ in range(40)]
        for _ in range(15):  # until those that are refused have been, which without shares are none
            if sum(map(asyncio.Task.done, flood)) < 20:
                await asyncio.sleep(0.1)
        began = time.monotonic()
        response = await other.ask(client, "POST", path, STEP)
        took = time.monotonic() - began
        answers = await asyncio.gather(*flood)
        assert all(each.headers["retry-after"] == "1" for each in answers if each.status_code == 429)
        return took, response, [each.status_code for each in answers]

    try:
        return asyncio.run(Registry(ready.app, plant.made).with_client(story))
    finally:
        ready.database.close()


@pytest.fixture
def silent_to_one(plant: Plant) -> Iterator[None]:
    """A device service that answers every station but the first at once."""
    place = plant.directory / "run"
    place.mkdir(0o750)
    held: list[socket.socket] = []

    def answer(line: socket.socket) -> None:
        (size,) = LENGTH.unpack(line.recv(LENGTH.size))
        if b'"station-01"' not in line.recv(size):
            line.sendall(framed(Refusal(code=Code.HANDSHAKE_UNKNOWN, message="none")))

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                held.append(listener.accept()[0])
                answer(held[-1])

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(place / "devices.sock"))
        listener.listen(256)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in held:
        each.close()


@pytest.mark.usefixtures("silent_to_one")
def test_one_station_keeps_no_other_ones_handshakes_waiting(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    took, response, flood = other_stations_step(plant, monkeypatch)
    assert (took < 2.0, response.status_code) == (True, 404)
    assert set(flood) == {429, 503}
    assert 8 <= flood.count(503) <= 16, "half of the threads, and perhaps once more after the first ones"


@pytest.mark.usefixtures("silent_to_one")
def test_control_without_shares_it_does(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Shares", lambda _threads: Shares(10**6, most=10**6))
    took, _, flood = other_stations_step(plant, monkeypatch)
    assert took > 2.0
    assert set(flood) == {503}


@pytest.mark.usefixtures("silent")
def test_steps_that_wait_keep_no_pin_waiting(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    took, statuses, codes = pinned_in(plant, monkeypatch)
    assert took < 1.2
    assert (set(statuses), codes) == ({503}, {"device-service-unable"})


@pytest.mark.usefixtures("silent")
def test_control_in_the_same_threads_they_do(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(40) as one:
        monkeypatch.setattr(app, "ThreadPoolExecutor", lambda *_args, **_more: one)
        took, _, _ = pinned_in(plant, monkeypatch)
    assert took > 1.2


def test_without_a_device_service_it_is_said_at_once(plant: Plant) -> None:
    for setting, word in (
        ('"run/devices.sock"', "there is no device service"),
        ('""', "relay_socket in its settings is empty"),
    ):
        settings = plant.directory / "registry.toml"
        settings.write_text(settings.read_text().replace('"run/devices.sock"', setting))
        ready = open_registry(Home.load(plant.directory), plant.made.trusted, plant.made.signer())

        async def story(client: httpx2.AsyncClient) -> httpx2.Response:
            return await station_of(plant.made).ask(client, "POST", f"/v1/handshakes/{'ab' * 16}", STEP)

        began = time.monotonic()
        response = asyncio.run(Registry(ready.app, plant.made).with_client(story))
        ready.database.close()
        assert (response.status_code, response.json()["error"]["code"]) == (503, "device-service-away")
        assert word in response.json()["error"]["message"] and time.monotonic() - began < 2
