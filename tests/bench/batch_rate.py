"""How many pins a second a registry takes by the batch: real processes, PostgreSQL on disk, receipts by SoftHSM.

`python tests/bench/batch_rate.py [BATCHES] [PROCESSES]`. Statements are made beforehand. In the same run, as a yardstick:
bare INSERTs of one row and one commit each, on the same server.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from station.cloud import Sent
from station.cloud.http import HttpCloud
from tests.registry.access import access_of
from tests.registry.make import Device, World, world
from tests.registry.postgres import Server
from trust import root_file as roots
from trust.dsse import Envelope

REPOSITORY = Path(__file__).parents[2]
LINES, STATIONS = 250, 2
_BARE_S = 1.0


def run(*argv: str) -> None:
    subprocess.run([sys.executable, "-m", *argv], cwd=REPOSITORY, check=True, capture_output=True, timeout=30)


@contextmanager
def program(*argv: str) -> Iterator[tuple[str, int]]:
    """A program until the block ends; gives the line on which it said that it is ready, and its process id."""
    process = subprocess.Popen([sys.executable, "-m", *argv], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield next(line for line in process.stderr if line.startswith("ready")), process.pid
    finally:
        process.terminate()
        process.communicate(timeout=20)


def site(place: Path, database: str) -> World:
    """A cloud signer and a registry as `init` makes them, and a world whose root names both."""
    names = ("--name", "registry-01", "--environment", "demo")
    run("hsm", "init", "--dir", str(place / "signer-cloud"), "--role", "cloud", *names)
    run("registry", "init", "--dir", str(place / "registry"), "--host", "localhost", *names)
    settings = place / "registry" / "registry.toml"
    settings.write_text(re.sub(r'database = "[^"]*"', f'database = "{database}"', settings.read_text()))
    settings.write_text(re.sub(r"rate_factor = .*", "rate_factor = 0.0", settings.read_text()))
    public = msgspec.json.decode((place / "signer-cloud" / "public.json").read_bytes(), type=dict[str, str])
    made = world(
        tls_root=ssl.PEM_cert_to_DER_cert((place / "registry" / "tls.crt").read_text()),
        receipt_spki=base64.b64decode(public["receipt"]),
        quantity=1_000_000,
    )
    (place / "root").write_bytes(roots.wrap(made.trusted.root).to_json())
    return made


def batches(made: World, count: int) -> list[list[Sent]]:
    """Pins of devices that nobody has seen yet, by station."""
    made_for = [f"station-0{1 + number % STATIONS}" for number in range(count)]
    return [
        [Sent(each.device_id, made.pin(each, station=station), made.order_envelope) for each in _devices()]
        for station in made_for
    ]


def _devices() -> list[Device]:
    return [Device() for _ in range(LINES)]


async def send(urls: list[str], made: World, work: list[list[Sent]], clients: int) -> float:
    """Pins a second; each client has the next batch as soon as it is free."""
    names = [f"station-0{1 + number % STATIONS}" for number in range(clients)]
    clouds = [
        HttpCloud(urls[number % len(urls)], made.trusted.root.tls_root, access=access_of(made, name), timeout_s=60)
        for number, name in enumerate(names)
    ]
    waiting: dict[str, list[list[Sent]]] = {name: [] for name in names}
    for each in reversed(work):
        waiting[msgspec.json.decode(each[0].statement.payload)["station"]].append(each)

    async def one(cloud: HttpCloud, name: str) -> None:
        while waiting[name]:
            found = await cloud.batch(waiting[name].pop())
            assert all(isinstance(each, Envelope) for each in found), found

    began = time.perf_counter()
    await asyncio.gather(*map(one, clouds, names))
    seconds = time.perf_counter() - began
    for cloud in clouds:
        await cloud.close()
    return sum(map(len, work)) / seconds


def processor_s(pids: list[int]) -> float:
    """Seconds of processor time that these processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def backends(server: Server) -> list[int]:
    """The database server's processes."""
    assert server.process is not None
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [server.process.pid, *map(int, children)]


def bare(server: Server, database: str) -> float:
    """Rows a second, one INSERT and one commit each."""
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE bare (id bigint PRIMARY KEY, row bytea NOT NULL)")
        began, number = time.perf_counter(), 0
        while time.perf_counter() - began < _BARE_S:
            connection.execute("INSERT INTO bare VALUES (%s, %s)", (number, b"x" * 3000))
            number += 1
        return number / (time.perf_counter() - began)


def main(count: int, processes: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="ks-batch-"))
    server = Server.make(on_disk=True)
    with ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        database = server.migrated()
        made = site(place, server.url(database))
        root = ("--root", str(place / "root"))
        _, signer = stack.enter_context(program("hsm", "serve", "--dir", str(place / "signer-cloud"), *root))
        urls, registries = [], []
        for _ in range(processes):
            serving = ("registry", "serve", "--dir", str(place / "registry"), *root, "--port", "0")
            line, pid = stack.enter_context(program(*serving))
            registries.append(pid)
            found = re.search(r"port (\d+)", line)
            assert found is not None
            urls.append(f"https://localhost:{found[1]}")
        asyncio.run(send(urls, made, batches(made, processes), processes))  # warm
        work = batches(made, count)
        parts = {"registry": registries, "signer": [signer], "database": backends(server)}
        before = {name: processor_s(pids) for name, pids in parts.items()}
        rate = asyncio.run(send(urls, made, work, 2 * processes))
        spent = {name: (processor_s(pids) - before[name]) / (count * LINES) * 1e3 for name, pids in parts.items()}
        again = asyncio.run(send(urls, made, work, 2 * processes))
        yardstick = bare(server, database)
    print(f"{count} batches of {LINES}, {processes} processes: {rate:.0f} pins/s, sent again {again:.0f}/s; ", end="")
    print(", ".join(f"{name} {each:.2f} ms" for name, each in spent.items()), end=" of processor time a pin; ")
    print(f"bare INSERT and commit {yardstick:.0f}/s, {rate / yardstick:.2f} of it")


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(given[0] if given else 8, given[1] if len(given) > 1 else 1)
