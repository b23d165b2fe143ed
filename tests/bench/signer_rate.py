"""How fast the signer is: a real `station-signer serve` on SoftHSM, 16 clients, prepared requests. Prints the figures.

`python tests/bench/signer_rate.py [RUNS]`. Proofs and frames are made beforehand, so that only the signer is measured.
In the same run, as yardsticks: the token signing in this process through python-pkcs11, and bare commits of one row.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from hsm.client import SignerClient
from hsm.messages import CompletionBody, PinBody, Request, frame, parse_answer, result
from hsm.schema import PRAGMAS
from tests.bench.signer_load import Rate, drive, drive_paced
from tests.hsm.floor import Device, Floor, ec_key, make_order, public
from tests.registry.make import signed
from trust.dsse import Envelope, Signature, pae
from trust.lease import Lease, LeaseRequest
from trust.root import LeaseTerms, RegistryKeys, Root, StationKeys, TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import Receipt, encode, envelope, read

CLIENTS, PER_CLIENT, ALONE = 16, 125, 200
PACED, PACED_PER_S = 1000, 400
LEASE = 500  # units, as many as a root may grant at a time
YARDSTICK_S = 1.0
STATION, REGISTRY = "st-01", "reg-01"
Drive = Callable[[Sequence[bytes]], Rate]


def request(verb: str, body: msgspec.Struct) -> bytes:
    return frame(Request(v=1, verb=verb, id=1, body=msgspec.Raw(msgspec.json.encode(body))))


@dataclass(frozen=True, slots=True)
class _Nowhere:
    """Stands where a floor has its policies: here the signer is a process, asked over its socket."""

    signatory: Any = None

    def import_order(self, order: Envelope) -> None:
        """Imported over the socket."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A served signer, and what its requests are made of."""

    directory: Path
    socket: Path
    floor: Floor
    receipt_key: ec.EllipticCurvePrivateKey
    lease_key: ec.EllipticCurvePrivateKey
    pid: int

    @property
    def cpu_s(self) -> float:
        """CPU seconds that the signer's process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def challenges(self, devices: Sequence[Device], clients: int, purpose: str = "pin") -> tuple[Rate, list[bytes]]:
        frames = [request("challenge", self.floor.challenge_request(each, purpose)) for each in devices]
        rate, answers = drive(self.socket, frames, clients)
        return rate, [result(parse_answer(each), bytes) for each in answers]

    def pins(self, devices: Sequence[Device], challenges: Sequence[bytes], drive_them: Drive) -> Rate:
        """Pin statements, lease by lease; renewing is not in the rate, and what is answered is an envelope."""
        rates: list[tuple[int, Rate]] = []
        made = [self.floor.pin(device, challenge) for device, challenge in zip(devices, challenges, strict=True)]
        frames = [request("sign_pin", PinBody(each)) for each in made]
        for first in range(0, len(frames), LEASE):
            asyncio.run(self.renew())
            some = frames[first : first + LEASE]
            rates.append((len(some), drive_them(some)))
        took = sum(count / rate.per_s for count, rate in rates)
        return Rate(len(frames) / took, [each for _, rate in rates for each in rate.latencies])

    def at_once(self, frames: Sequence[bytes]) -> Rate:
        rate, answers = drive(self.socket, frames, CLIENTS)
        for each in answers:
            result(parse_answer(each), Envelope)
        return rate

    def paced(self, frames: Sequence[bytes]) -> Rate:
        return drive_paced(self.socket, frames, CLIENTS, PACED_PER_S)

    async def renew(self) -> None:
        """The next lease, as a registry would grant it."""
        client = SignerClient(self.socket)
        asked = await client.lease_request()
        request, now = read(asked, LeaseRequest), datetime.now(UTC)
        lease = Lease(
            environment="demo", root_sha256=self.floor.trusted.sha256, registry=REGISTRY, station=STATION,
            serial=request.serial, request_sha256=asked.payload_sha256, signed=request.signed,
            up_to=request.signed + LEASE, granted_at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
            expires_at=f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip
        await client.import_lease(signed(lease, self.lease_key))
        await client.close()

    def completion(self, device: Device, pin: Envelope, challenge: bytes) -> CompletionBody:
        receipt = Receipt(
            environment="demo", root_sha256=self.floor.trusted.sha256, registry=REGISTRY, subject="pin",
            statement_sha256=pin.payload_sha256, order_id=self.floor.order.order_id, job=str(device.job),
            device_id=str(device.device_id), fingerprint=public(device.key).fingerprint, state="provisional",
            registered_at="2026-11-22T20:00:00Z",
        )  # fmt: skip
        signature = self.receipt_key.sign(pae(Receipt.PAYLOAD_TYPE, encode(receipt)), ec.ECDSA(hashes.SHA256()))
        receipted = envelope(receipt, Signature(public(self.receipt_key).fingerprint, signature))
        closing_report = device.closing(self.floor.order, challenge)
        return CompletionBody(self.floor.completion(device, pin, receipted, closing=closing_report), pin, receipted)


@contextmanager
def served() -> Iterator[Bench]:
    """A new signer on SoftHSM, serving from a process of its own, with one order imported."""
    with tempfile.TemporaryDirectory(prefix="ks-rate-") as name:
        directory, root = Path(name) / "signer", Path(name) / "root.json"
        command = [sys.executable, "-m", "hsm"]
        subprocess.run(
            [*command, "init", "--dir", directory, "--role", "factory", "--name", STATION],
            check=True,
            capture_output=True,
        )
        receipt_key, lease_key = ec_key(), ec_key()
        keys = RegistryKeys(receipt=public(receipt_key).spki, lease=public(lease_key).spki)
        trusted = write_root(root, directory, keys)
        process = subprocess.Popen(
            [*command, "serve", "--dir", directory, "--root", root], stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            ready = next((line for line in process.stderr if line.startswith("ready: ")), "it ended")
            assert ready.startswith("ready: "), ready
            order = make_order(trusted, quantity=100_000)
            floor = Floor(trusted, order, _Nowhere(), _Nowhere())  # type: ignore[arg-type]
            bench = Bench(directory, directory / "run" / "signer.sock", floor, receipt_key, lease_key, process.pid)
            asyncio.run(_import(bench))
            yield bench
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


async def _import(bench: Bench) -> None:
    client = SignerClient(bench.socket)
    await client.import_order(bench.floor.order_envelope)
    await client.close()


def write_root(path: Path, directory: Path, registry_keys: RegistryKeys) -> TrustedRoot:
    keys = {name: base64.b64decode(text) for name, text in json.loads((directory / "public.json").read_text()).items()}
    root = Root(
        environment="demo",
        version=1,
        registry=REGISTRY,
        registry_url="https://registry.example",
        tls_root=b"",
        stations={STATION: StationKeys(**keys)},
        registry_keys=registry_keys,
        lease=LeaseTerms(units=LEASE),
    )
    path.write_bytes(wrap(root).to_json())
    return parse(path.read_bytes())


async def alone(bench: Bench, count: int) -> dict[str, Rate]:
    """One station with the product's own client: what a unit waits for challenge, pin statement and completion."""
    client, times = SignerClient(bench.socket), {"challenge": [], "pin": [], "completion": []}

    async def timed(verb: str, call: Callable[[], Awaitable[Any]]) -> Any:
        began = time.perf_counter()
        answer = await call()
        times[verb].append(time.perf_counter() - began)
        return answer

    for _ in range(count):
        device = Device()
        asked = bench.floor.challenge_request(device)
        made = bench.floor.pin(device, await timed("challenge", lambda asked=asked: client.challenge(asked)))
        pin = await timed("pin", lambda made=made: client.sign_pin(made))
        body = bench.completion(device, pin, await client.challenge(bench.floor.challenge_request(device, "report")))
        await timed("completion", lambda body=body: client.sign_completion(body.completion, body.pin, body.receipt))
    await client.close()
    return {verb: Rate(len(each) / sum(each), each) for verb, each in times.items()}


async def accounts(bench: Bench) -> None:
    """Each signature is on record, and none was made twice."""
    client = SignerClient(bench.socket)
    status = await client.status()
    await client.close()
    wanted = CLIENTS * PER_CLIENT + PACED + ALONE
    assert (status.signatures["pin"], status.resigned) == (wanted, 0), status


TOKEN_LOOP = """
import hashlib, json, sys, time
from pathlib import Path
import pkcs11
from hsm import config
from hsm.token import softhsm
from hsm.token.user_pin import read_user_pin
where = Path(sys.argv[1])
made = config.load(where)
softhsm.select(where / made.softhsm_conf)
token = pkcs11.lib(str(softhsm.find_module(made.module))).get_token(token_label=made.token_label)
session = token.open(user_pin=read_user_pin("file:user-pin", where, environment="demo").reveal())
key = session.get_key(pkcs11.ObjectClass.PRIVATE_KEY, label="pin")
digest, count, began = hashlib.sha256(b"message").digest(), 0, time.perf_counter()
while time.perf_counter() - began < float(sys.argv[2]):
    key.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)
    count += 1
print(count / (time.perf_counter() - began))
"""


def token_rate(directory: Path) -> float:
    """C_Sign through python-pkcs11, nothing around it, signatures a second."""
    command = [sys.executable, "-c", TOKEN_LOOP, str(directory), str(YARDSTICK_S)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout)


def commit_rate(directory: Path) -> float:
    """Commits a second of one row of a statement's size, with the counters' own pragmas."""
    with closing(sqlite3.connect(directory / "bare.db", isolation_level=None)) as database:
        for name, (value, _) in PRAGMAS.items():
            database.execute(f"PRAGMA {name} = {value}")
        database.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, payload BLOB NOT NULL) STRICT")
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < YARDSTICK_S:
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO rows VALUES (?, ?)", (os.urandom(32).hex(), bytes(2400)))
            database.execute("COMMIT")
            count += 1
        return count / (time.perf_counter() - began)


def run() -> dict[str, float]:
    """One run, shown as it goes; signatures a second and one-client medians (ms) for the summary."""
    with served() as bench:
        drive(bench.socket, [request("challenge", bench.floor.challenge_request(Device()))] * 200, CLIENTS)
        devices = [Device() for _ in range(CLIENTS * PER_CLIENT)]
        given, challenges = bench.challenges(devices, CLIENTS)
        say(f"challenge, {CLIENTS} clients    {given}")
        used = bench.cpu_s
        at_once = bench.pins(devices, challenges, bench.at_once)
        cpu_ms = (bench.cpu_s - used) / len(devices) * 1000
        say(f"pin, {CLIENTS} clients          {at_once}   CPU {cpu_ms:.2f} ms a pin")
        _, challenges = bench.challenges(others := [Device() for _ in range(PACED)], CLIENTS)
        paced = bench.pins(others, challenges, bench.paced)
        say(f"pin, the same, paced    {paced}")
        asyncio.run(bench.renew())
        single = asyncio.run(alone(bench, ALONE))
        for verb, rate in single.items():
            say(f"{verb + ', one client':<23} {rate}")
        asyncio.run(accounts(bench))
        token, commits = token_rate(bench.directory), commit_rate(bench.directory)
        say(f"python-pkcs11 C_Sign    {token:7.0f}/s")
        say(f"bare SQLite commits     {commits:7.0f}/s")
    cuts = {verb: statistics.median(rate.latencies) * 1000 for verb, rate in single.items()}
    p99, paced_p99 = (statistics.quantiles(each.latencies, n=100)[98] * 1000 for each in (at_once, paced))
    return {"pins/s": at_once.per_s, "pin p99 ms": p99, f"p99 ms at {PACED_PER_S}/s": paced_p99, "pin CPU ms": cpu_ms, "challenges/s": given.per_s} | {
        f"{verb} alone ms": each for verb, each in cuts.items()
    } | {"C_Sign/s": token, "commits/s": commits}  # fmt: skip


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(runs: int) -> None:
    found = [run() for _ in range(runs)]
    say(f"median of {runs} runs:")
    for name in found[0]:
        say(f"  {name:<20} {statistics.median(each[name] for each in found):8.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
