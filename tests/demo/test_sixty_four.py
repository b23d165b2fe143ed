"""Sixty-four units meet the cloud: by the registry's one port and no other, and through a plant's proxy.

Native devices and emulated boards, EC over UDP and RSA over TCP. What each program connects or binds to is written down by an
audit hook in it; the station's refuses every port but the first. A slice in each run.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.commands import STATION
from tests.demo.test_demo import EXAMPLE
from tests.station.proxies import Proxy, serving

pytestmark = pytest.mark.xdist_group("demo")
HOOK = """
import json, os, sys
allowed = []
def hook(event, words):
    if event not in {"socket.connect", "socket.bind", "socket.sendto"} or not isinstance(words[1], tuple):
        return
    program, port = " ".join(sys.orig_argv[1:4]), words[1][1]
    with open(os.environ["WRITTEN"], "a") as file:
        file.write(json.dumps([event, program, port]) + "\\n")
    if event != "socket.bind" and "station run" in program:
        allowed.append(port)
        if port != allowed[0]:
            raise ConnectionRefusedError(f"port {port} is closed")
sys.addaudithook(hook)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was printed, what each program did with ports, and how many of which records the ledger has."""

    out: str
    ports: list[tuple[str, str, int]]
    records: dict[str, int]

    def of(self, event: str, program: str) -> set[int]:
        return {port for kind, words, port in self.ports if kind == event and program in words}


@contextmanager
def place(proxy: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        directory = Path(name).resolve()
        text = EXAMPLE.read_text().replace("run/demo", "plant")
        assert text.count('proxy = ""') == 1
        (directory / "config.toml").write_text(text.replace('proxy = ""', f'proxy = "{proxy}"'))
        (directory / "hook").mkdir()
        (directory / "hook" / "sitecustomize.py").write_text(HOOK)
        yield directory


def demo(devices: int, bench: str, proxy: str = "") -> Seen:
    with place(proxy) as directory:
        written = directory / "ports"
        environment = {**os.environ, "PYTHONPATH": str(directory / "hook"), "WRITTEN": str(written)}
        done = subprocess.run(
            [STATION, "demo", "--config", "config.toml", "--bench", bench, "--devices", str(devices)],
            cwd=directory, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        ports = [tuple(json.loads(line)) for line in written.read_text().splitlines()]
        with sqlite3.connect(f"file:{directory / 'plant' / 'station' / 'ledger.db'}?mode=ro", uri=True) as ledger:
            records = dict(ledger.execute("SELECT kind, count(*) FROM records GROUP BY kind").fetchall())
        return Seen(done.stdout, ports, records)


def require_all(seen: Seen, devices: int) -> int:
    """All have passed, each with its report in the log, by one port; which that was."""
    assert len(re.findall(r"^\S+ +PASS ", seen.out, re.MULTILINE)) == devices, seen.out
    assert (seen.records["handshake-report"], seen.records["completion"]) == (devices, devices)
    assert seen.of("socket.bind", "registry devices") == seen.of("socket.bind", "station-registry devices") == set()
    (port,) = seen.of("socket.connect", "station run")
    assert not seen.of("socket.sendto", "station run")
    return port


def by_one_port(devices: int, bench: str) -> None:
    seen = demo(devices, bench)
    port = require_all(seen, devices)
    assert port in seen.of("socket.bind", "station-registry serve") | seen.of("socket.bind", "registry serve"), (
        seen.ports
    )


def through_a_proxy(devices: int, bench: str) -> None:
    with serving(Proxy()) as proxy:
        seen = demo(devices, bench, proxy.url)
        assert require_all(seen, devices) == proxy.port
        assert {head.split(" ", 1)[0] for head in proxy.asked} == {"CONNECT"}
        assert len({head.split()[1] for head in proxy.asked}) == 1


WAYS: dict[str, Callable[[int, str], None]] = {"by one port": by_one_port, "through a proxy": through_a_proxy}


@pytest.mark.timeout(90)
def test_a_slice() -> None:
    through_a_proxy(2, "native")


def test_control_a_second_port_is_closed_to_the_station(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    tries = "import socket\nfor port in (1, 2):\n try: socket.create_connection(('127.0.0.1', port))\n except OSError as e: print(e)"
    (tmp_path / "station").write_text(tries)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "WRITTEN": str(tmp_path / "ports")}
    words = ["python3", "station", "run"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[Errno 111] Connection refused", "port 2 is closed"]


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_sixty_four(way: str) -> None:
    WAYS[way](56, "native")
    WAYS[way](8, "emulated")
