"""How many pins a second registries on one PostgreSQL take: 32 stations, each a request at a time. Prints the figures.

`python tests/bench/registry_rate.py [--seconds 30] [--processes 2] [--stored 0] [--batch 0] [--signer token|memory]`

The whole way: TLS, access, signatures verified, unique constraints and counts, two synchronous commits, a receipt from
the cloud signer on SoftHSM. Statements are made beforehand, so that only the registry is measured; clients, registry,
signer and database share this machine's processors. In the same run, as a yardstick: bare INSERTs of a row as large as
a pin's into the same server, one commit each, from as many connections as the registry has.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec

from tests.registry.fleet import Fleet, make_fleet, running
from tests.registry.load import Line, NoAnswerError, ViolationError, line_of, pin_body
from tests.registry.make import Device
from tests.registry.postgres import Server

STATIONS, YARDSTICK_S, WARM = 32, 5.0, 200
REPOSITORY = Path(__file__).parents[2]


@dataclass(slots=True)
class Measured:
    """What came of a run."""

    seconds: list[float] = field(default_factory=list)
    pins: int = 0
    errors: list[str] = field(default_factory=list)
    took_s: float = 0.0

    def line(self, name: str) -> str:
        ordered = sorted(self.seconds)
        p50, p95 = (1000 * ordered[int(part * len(ordered))] for part in (0.5, 0.95))
        rate = self.pins / self.took_s
        return f"{name}: {rate:.0f} pins/s, request p50 {p50:.0f} ms, p95 {p95:.0f} ms, {len(self.errors)} errors"


def prepared(fleet: Fleet, count: int) -> list[tuple[str, str, bytes]]:
    """Station, path and body of so many pins, made on all processors."""
    names = sorted(fleet.made.stations)
    with ProcessPoolExecutor(os.cpu_count(), initializer=_share, initargs=(fleet,)) as pool:
        return list(pool.map(_prepare, (names[number % len(names)] for number in range(count)), chunksize=100))


_SHARED: list[Fleet] = []


def _share(fleet: Fleet) -> None:
    _SHARED.append(fleet)


def _prepare(station: str) -> tuple[str, str, bytes]:
    device = Device()
    return station, f"/v1/pins/{device.device_id}", pin_body(_SHARED[0], station, device)


def drive(
    fleet: Fleet, work: list[tuple[str, str, bytes]], seconds: float, send: Callable[[Line, str, bytes], int]
) -> Measured:
    """As many clients as stations, each with its own statements, a request at a time, for so long or to the end."""
    measured, turn = Measured(), threading.Lock()
    waiting: dict[str, queue.SimpleQueue[tuple[str, bytes]]] = {
        name: queue.SimpleQueue() for name in fleet.made.stations
    }
    for station, path, body in work:
        waiting[station].put((path, body))
    end = time.monotonic() + seconds

    def station(name: str) -> None:
        line = line_of(fleet, name)
        while time.monotonic() < end and not waiting[name].empty():
            path, body = waiting[name].get()
            began = time.monotonic()
            try:
                pins = send(line, path, body)
            except (NoAnswerError, ViolationError) as error:
                with turn:
                    measured.errors.append(str(error))
                continue
            with turn:
                measured.seconds.append(time.monotonic() - began)
                measured.pins += pins
        line.close()

    began = time.monotonic()
    with ThreadPoolExecutor(len(waiting)) as pool:
        list(pool.map(station, waiting))
    measured.took_s = time.monotonic() - began
    return measured


def one(line: Line, path: str, body: bytes) -> int:
    line.put(path, body)
    return 1


def many(line: Line, path: str, body: bytes) -> int:
    status, said = line.ask("POST", path, body)
    results = [msgspec.json.decode(each) for each in said.splitlines()] if status == 200 else []
    wrong = [each for each in results if each["status"] != 200]
    if status != 200 or wrong:
        raise ViolationError(f"batch: {status} {(wrong or [said])[0]!r}")
    return len(results)


def batches(work: list[tuple[str, str, bytes]], size: int) -> list[tuple[str, str, bytes]]:
    """The same pins as lines of batches, a station's own in each."""
    made, by_station = [], {}
    for station, path, body in work:
        by_station.setdefault(station, []).append((path, body))
    for station, pins in by_station.items():
        for first in range(0, len(pins), size):
            lines = []
            for number, (path, body) in enumerate(pins[first : first + size]):
                parts = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
                order = (
                    parts["order"] if number == 0 else msgspec.Raw(msgspec.json.encode(_order_sha256(parts["order"])))
                )
                device = path.rpartition("/")[2]
                lines.append(
                    msgspec.json.encode({"device_id": device, "statement": parts["statement"], "order": order})
                )
            made.append((station, "/v1/pins:batch", b"\n".join(lines)))
    return made


def _order_sha256(raw: msgspec.Raw) -> str:
    from trust.dsse import Envelope

    return Envelope.from_json(bytes(raw)).payload_sha256


def bare_inserts(server: Server, connections: int, row: int) -> float:
    """Commits a second of one INSERT each."""
    server.sql("CREATE TABLE yardstick (id text PRIMARY KEY, data bytea)")
    end, counts = time.monotonic() + YARDSTICK_S, [0] * connections

    def loop(number: int) -> None:
        with server.connect() as connection:
            while time.monotonic() < end:
                connection.execute("INSERT INTO yardstick VALUES (%s, %s)", (os.urandom(12).hex(), os.urandom(row)))
                counts[number] += 1

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(loop, range(connections)))
    return sum(counts) / YARDSTICK_S


def stored(server: Server, name: str, fleet: Fleet, count: int) -> None:
    """So many devices that are pinned, with their receipts and r, as rows that the server makes itself."""
    if not count:
        return
    order = fleet.made.order_envelope
    with server.connect(name) as connection:
        connection.execute(
            "INSERT INTO orders VALUES ('0', 'order-old', %s)", [order.to_json()],
        )  # fmt: skip
        connection.execute(
            "INSERT INTO pins SELECT substr(md5('d' || n), 1, 24), 'station-' || lpad((1 + n %% 32)::text, 2, '0'), "
            "md5('j' || n), md5('f' || n) || md5('g' || n), NULL, 'order-old', '0', %s, md5('s' || n) || md5('t' || n), "
            "'2026-01-01T00:00:00.000Z' FROM generate_series(1, %s) n",
            [b"x" * 2500, count],
        )
        connection.execute("INSERT INTO receipts SELECT statement_sha256, %s FROM pins", [b"x" * 900])
        connection.execute(
            "INSERT INTO signature_r SELECT sha256((device_id || k)::bytea), device_id FROM pins, generate_series(1, 2) k"
        )
        connection.execute("VACUUM ANALYZE")


@contextmanager
def signer(place: Path) -> Iterator[Path]:
    """A cloud signer on a SoftHSM token of its own."""
    (place / "tokens").mkdir()
    conf = place / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {place / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(conf)
    directory = place / "signer"
    names = ("--role", "cloud", "--name", "registry-01", "--environment", "demo")
    argv = (sys.executable, "-m", "hsm", "init", "--dir", str(directory), *names)
    subprocess.run(argv, cwd=REPOSITORY, check=True, capture_output=True)
    yield directory


@contextmanager
def serving(directory: Path, root: Path) -> Iterator[int]:
    argv = (sys.executable, "-m", "hsm", "serve", "--dir", str(directory), "--root", str(root))
    process = subprocess.Popen(argv, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for text in process.stderr:
            if text.startswith("ready"):
                break
        yield process.pid
    finally:
        process.terminate()
        process.communicate(timeout=10)


def measure(server: Server, place: Path, given: argparse.Namespace, token: Path | None) -> None:
    name = server.migrated()
    quantity = max(100_000, 400 * int(given.seconds) * 2)
    fleet = make_fleet(
        place / "fleet",
        server.url(name),
        given.processes,
        stations=STATIONS,
        quantity=quantity,
        signer=token,
        leases=True,
    )
    for station in fleet.made.stations:  # as if each had leases enough: how they are granted is not measured
        server.sql(f"INSERT INTO station_counts VALUES ('{station}', 0, 100000000, '')", name)
    work = prepared(fleet, WARM + int(given.seconds * given.most))
    if given.batch:
        work = batches(work, given.batch)
    stored(server, name, fleet, given.stored)

    def run(signer_pid: int) -> None:
        with running(fleet):
            send = many if given.batch else one
            drive(fleet, work[:STATIONS] if given.batch else work[:WARM], 60, send)
            parties = parties_of(fleet, server, signer_pid)
            before = {name: cpu_s(pids()) for name, pids in parties.items()}
            found = drive(fleet, work[STATIONS:] if given.batch else work[WARM:], given.seconds, send)
            after = {name: cpu_s(pids()) for name, pids in parties.items()}
            bare = bare_inserts(server, 8 * given.processes, 4096)
            size = f", {given.stored} devices stored" if given.stored else ""
            how = f"batches of {given.batch}" if given.batch else "single pins"
            say(found.line(f"{how}, {given.processes} processes, receipts from {given.signer}{size}"))
            say(f"  bare INSERT with commit: {bare:.0f}/s; ratio {bare * found.took_s / found.pins:.1f}")
            used = {name: 1000 * (after[name] - before[name]) / found.pins for name in before}
            say("  processor ms a pin: " + ", ".join(f"{name} {ms:.2f}" for name, ms in used.items()))
            for each in found.errors[:3]:
                say(f"  {each[:300]}")

    if token is None:
        run(0)
    else:
        with serving(token, place / "fleet" / "root.json") as pid:
            run(pid)


def parties_of(fleet: Fleet, server: Server, signer_pid: int) -> dict[str, Callable[[], list[int]]]:
    """Whose processor time is told apart."""
    postmaster = server.process.pid if server.process is not None else 0
    return {
        "registry": lambda: [each.process.pid for each in fleet.processes if each.process is not None],
        "database": lambda: [postmaster, *children(postmaster)],
        "signer": lambda: [signer_pid] if signer_pid else [],
        "clients": lambda: [os.getpid()],
    }


def children(parent: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def cpu_s(pids: list[int]) -> float:
    """Processor seconds that these processes have used, and children of theirs that are gone."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--stored", type=int, default=0)
    parser.add_argument("--batch", type=int, default=0, help="lines a request; 0: single pins")
    parser.add_argument("--most", type=int, default=400, help="pins a second that are prepared")
    parser.add_argument("--signer", choices=("token", "memory"), default="token")
    given = parser.parse_args()
    server = Server.make(on_disk=True, shared_buffers="256MB", max_wal_size="2GB")
    with tempfile.TemporaryDirectory(prefix="ks-") as directory:
        try:
            server.start()
            place = Path(directory)
            (place / "fleet").mkdir()
            if given.signer == "memory":
                measure(server, place, given, None)
                return
            with signer(place) as token:
                measure(server, place, given, token)
        finally:
            server.remove()


if __name__ == "__main__":
    main()
