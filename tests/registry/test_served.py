"""The program as it is run: init, serve over HTTPS, end, be killed, look up. Real processes, real TLS, real files."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.cli import cli
from station.cloud import CloudUnreachableError, PinRecord
from station.cloud.http import HttpCloud
from tests import warm
from tests.registry.access import access_of
from tests.registry.make import Device
from tests.registry.running import REPOSITORY, Plant, answered, connect, make_plant, plant_at, running
from trust.dsse import Envelope


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Plant]:
    """A plant of the test's own, not started; whatever it starts is gone afterwards."""
    with plant_at(tmp_path) as made:
        yield made


def inside(*argv: str | Path) -> Result:
    """The program in this process: quicker, where what it says is what matters."""
    return CliRunner().invoke(cli, [*map(str, argv)])


def program(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return warm.run([sys.executable, "-m", "registry", *map(str, argv)], cwd=REPOSITORY)


def test_init_makes_a_directory_once(tmp_path: Path) -> None:
    place = tmp_path / "r"
    argv = ("init", "--dir", place, "--name", "registry-01", "--environment", "demo", "--host", "registry.example")
    made = program(*argv)
    assert (made.returncode, made.stdout) == (0, "")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    modes.pop("registry.db-journal", None)
    assert modes == {"tls.key": 0o600, "tls.crt": 0o644, "registry.db": 0o600, "registry.toml": 0o644}
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    again = inside(*argv)
    assert again.exit_code == 2 and "nothing was changed" in again.stderr
    (place / "registry.toml").unlink()
    assert "tls.key is there already" in inside(*argv).stderr
    del before["registry.toml"]
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_init_refuses_names_that_are_none(tmp_path: Path) -> None:
    argv = ("--name", "Registry 1", "--environment", "demo", "--host", "localhost")
    found = inside("init", "--dir", tmp_path / "r", *argv)
    assert found.exit_code == 2 and "a-z 0-9" in found.stderr
    assert not (tmp_path / "r").exists()


def test_the_certificate_satisfies_strict_clients(plant: Plant) -> None:
    context = ssl.create_default_context(cadata=plant.tls_root)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with connect(plant, context) as line:
        assert line.version() == "TLSv1.3"


def test_plain_http_is_refused(plant: Plant) -> None:
    with socket.create_connection(("127.0.0.1", plant.port), timeout=5) as line:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"registry-01" not in line.recv(1000)


@pytest.mark.parametrize(
    "head", ["content-length: 5000000", "transfer-encoding: chunked"], ids=["announced", "in chunks"]
)
def test_too_large_bodies_on_the_wire(head: str, plant: Plant) -> None:
    with connect(plant) as line:
        line.sendall(f"PUT /v1/pins/{'ab' * 12} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n".encode())
        piece = b"x" * 10_000
        for _ in range(110):  # past 1 MiB the registry answers without reading on
            line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if "chunked" in head else piece)
        answer = answered(line)
    assert answer.startswith(b"HTTP/1.1 413 ") and b'"code":"too-large"' in answer


def test_garbage_on_the_wire_does_not_end_it(plant: Plant) -> None:
    for garbage in (b"\x00" * 100, b"PUT / HTTP/9.9\r\n\r\n", b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n"):
        with connect(plant) as line:
            line.sendall(garbage)
            assert answered(line).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.1 431 "))
    with connect(plant) as line:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b'"registry":"registry-01"' in answered(line)


def test_no_session_ticket_is_sent(plant: Plant) -> None:
    with connect(plant) as line:
        line.sendall(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answered(line)
        assert line.session is None or not line.session.has_ticket


def pin_all(plant: Plant, devices: list[Device], statements: list[Envelope]) -> list[PinRecord]:
    async def run() -> list[PinRecord]:
        cloud = HttpCloud(plant.url, plant.tls_root, access=access_of(plant.made))
        try:
            pins = (
                cloud.pin(d.device_id, s, plant.made.order_envelope) for d, s in zip(devices, statements, strict=True)
            )
            return await asyncio.gather(*pins)
        finally:
            await cloud.close()

    return asyncio.run(run())


@pytest.mark.timeout(60)  # starts the program twice
def test_sigterm_is_a_clean_end_and_the_address_is_free_again(own: Plant) -> None:
    own.start()
    device = Device()
    statement = own.made.pin(device)
    before = pin_all(own, [device], [statement])
    assert own.end(signal.SIGTERM) == 0
    assert not [line for line in own.said if "ERROR" in line or "Traceback" in line]
    own.start()
    assert pin_all(own, [device], [statement]) == before
    assert own.end(signal.SIGINT) == 0


@pytest.mark.timeout(60)  # starts the program three times
def test_what_was_acknowledged_survives_kill_9(own: Plant) -> None:
    """Killed under load twice; every acknowledged pin is there afterwards, receipt byte for byte."""
    devices = [Device() for _ in range(60)]
    statements = [own.made.pin(each) for each in devices]
    kept: dict[int, PinRecord] = {}

    async def load(enough: int) -> None:
        cloud, kill = HttpCloud(own.url, own.tls_root, access=access_of(own.made)), asyncio.Event()

        async def one(number: int) -> None:
            kept[number] = await cloud.pin(devices[number].device_id, statements[number], own.made.order_envelope)
            if len(kept) >= enough:
                kill.set()

        waiting = [asyncio.create_task(one(number)) for number in range(60) if number not in kept]
        await kill.wait()
        assert own.process is not None
        own.process.send_signal(signal.SIGKILL)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(each is None or isinstance(each, CloudUnreachableError) for each in results)
        await cloud.close()

    for enough in (10, 30):
        own.start()
        asyncio.run(load(enough))
        own.end(signal.SIGKILL)
    acknowledged = dict(kept)
    own.start()
    found = pin_all(own, devices, statements)
    assert own.end() == 0
    assert {number: found[number] for number in acknowledged} == acknowledged
    assert 30 <= len(acknowledged) < 60


def test_serve_without_its_signer_refuses_with_the_remedy(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    found = program("serve", "--dir", plant.directory, "--root", plant.root_file, "--port", "0")
    assert found.returncode == 2
    assert (
        "start it, with the same root file: station-signer serve --dir" in found.stderr
        and "Traceback" not in found.stderr
    )


def test_an_address_that_is_taken_is_refused_with_the_remedy(plant: Plant, own: Plant) -> None:
    own.port = plant.port
    with pytest.raises(AssertionError, match="choose another --host or --port"):
        own.start()


@pytest.mark.parametrize(
    "argv", [["--help"], ["serve", "--help"], ["init", "--help"], ["migrate", "--help"], ["pin", "show", "--help"]]
)
def test_help_is_complete_and_quick(argv: list[str]) -> None:
    """0.3 s of processor time, the best of three: what one waits for on a machine that has nothing else to do."""
    took_s: list[float] = []
    while len(took_s) < 3 and min(took_s, default=1.0) >= 0.3:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = program(*argv)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert found.returncode == 0 and "Usage: station-registry" in found.stdout
        took_s.append((after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime))
    assert min(took_s) < 0.3, took_s


def test_migrate_makes_what_is_missing(tmp_path: Path) -> None:
    plant = make_plant(tmp_path)
    argv = ("--dir", plant.directory)
    (plant.directory / "registry.db").unlink()
    assert inside("user", "list", *argv).exit_code == 2
    assert inside("migrate", *argv).exit_code == 0
    assert inside("user", "list", *argv).exit_code == 0
