"""A registry behind a load balancer of layer 4: strangers are told apart, and nobody says for himself who he is."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.behind import Balancers
from registry.serving import balancers_of
from registry.settings import Home, RegistryConfig, SetupError, dump
from tests.registry.running import Plant, answered, plant_at
from trust.toml_text import table

pytestmark = pytest.mark.timeout(60)  # each test starts the program
ASK = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n"
TIGHT = 0.0001  # of the rates: an address may ask once in ten seconds
STRANGER, STATION = (f"PROXY TCP4 {each} 192.0.2.1 4711 443\r\n".encode() for each in ("198.51.100.7", "203.0.113.9"))
GONE = (ssl.SSLError, ConnectionError)
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_at(tmp_path) as made:
        yield made


def behind(plant: Plant, *balancers: str) -> None:
    config = plant.directory / "registry.toml"
    text = config.read_text().replace("rate_factor = 1.0", f"rate_factor = {TIGHT}")
    words = ", ".join(f'"{each}"' for each in balancers)
    assert "balancers = []" in text
    config.write_text(text.replace("balancers = []", f"balancers = [{words}]"))
    plant.start()


def context_of(plant: Plant) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(plant.tls_root))


def line(plant: Plant, header: bytes) -> ssl.SSLSocket:
    """Through the balancer: the header, then TLS."""
    plain = socket.create_connection(("127.0.0.1", plant.port), 10)
    plain.sendall(header)
    return context_of(plant).wrap_socket(plain, server_hostname="localhost")


def all_at_once(plant: Plant, header: bytes) -> bytes:
    """The answer to who sends in one segment the header and the first of TLS, in another the last of it and a request."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context_of(plant).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", plant.port), 10) as plain:
        shaken, answer = False, b""
        while not answer:
            with contextlib.suppress(ssl.SSLWantReadError):
                if not shaken:
                    tls.do_handshake()
                    shaken = True
                    tls.write(ASK)
                else:
                    answer = tls.read(12)
            if sent := outgoing.read():
                plain.sendall(header + sent)
                header = b""
            elif not answer:
                incoming.write(plain.recv(65_536))
    return answer


def status(plant: Plant, header: bytes) -> int:
    with line(plant, header) as there:
        there.sendall(ASK)
        return int(answered(there).split()[1])


def used_up(plant: Plant, header: bytes) -> bool:
    """Whether a stranger has come to the end of what his address may ask."""
    return {status(plant, header), status(plant, header)} == {200, 429}


def test_a_stranger_uses_up_his_own_share_and_no_stations(plant: Plant) -> None:
    behind(plant, "127.0.0.1")
    assert used_up(plant, STRANGER)
    assert status(plant, STATION) == 200
    assert status(plant, LOCAL) == 200, "the balancer's own health check"
    assert status(plant, b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 443\r\n") == 200
    assert all_at_once(plant, b"PROXY TCP4 203.0.113.77 192.0.2.1 1 443\r\n") == b"HTTP/1.1 200"
    assert plant.end() == 0


def test_control_without_the_setting_a_stranger_stops_them_all(plant: Plant) -> None:
    behind(plant)
    assert used_up(plant, b"")
    assert status(plant, b"") == 429, "whoever it is: all are the balancer"
    assert plant.end() == 0


@pytest.mark.parametrize(
    "header", [b"", b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 a b 1 2\r\n", STRANGER[:-1] + b"x" * 80, STRANGER + STATION]
)
def test_a_balancer_that_does_not_say_is_dropped(plant: Plant, header: bytes) -> None:
    behind(plant, "127.0.0.0/30")
    with pytest.raises(GONE):
        status(plant, header)
    assert status(plant, STATION) == 200
    assert plant.end() == 0


def test_a_header_that_does_not_come_is_not_waited_for(plant: Plant) -> None:
    config = plant.directory / "registry.toml"
    config.write_text(config.read_text().replace("balancers = []", 'balancers = ["127.0.0.1"]'))
    plant.start(HANDSHAKE_TIMEOUT_S=0.5)
    for drips in (b"", b"PROXY TC", STRANGER):
        with socket.create_connection(("127.0.0.1", plant.port), 10) as silent:
            silent.sendall(drips)
            with contextlib.suppress(ConnectionError):
                assert silent.recv(100) == b""
    assert status(plant, STATION) == 200
    assert plant.end() == 0


def test_who_is_no_balancer_is_not_believed(plant: Plant) -> None:
    behind(plant, "192.0.2.0/24")
    with pytest.raises(GONE):
        status(plant, STATION)
    assert status(plant, b"") == 200, "who comes by himself is himself"
    assert plant.end() == 0


def test_whose_header_is_believed() -> None:
    some = Balancers.parse(("192.0.2.0/28", "2001:db8::5"))
    for host, good in {
        "192.0.2.15": True, "192.0.2.16": False, "::ffff:192.0.2.1": True, "2001:db8::5": True, "fe80::1%eth0": False,
    }.items():  # fmt: skip
        assert (host in some) is good, host
    assert "127.0.0.1" not in Balancers()


def test_what_is_no_address_is_said_at_the_start(tmp_path: Path) -> None:
    for wrong in ("balancer.example", "192.0.2.1/24", ""):
        home = Home(tmp_path, RegistryConfig(name="registry-01", environment="demo", balancers=(wrong,)))
        with pytest.raises(SetupError, match="give addresses or networks"):
            balancers_of(home)
    told = dump(RegistryConfig(name="registry-01", environment="demo", balancers=("192.0.2.1", "2001:db8::/32")))
    assert table(told.encode())["balancers"] == ["192.0.2.1", "2001:db8::/32"]
