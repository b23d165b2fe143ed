"""Stations that pin device after device over HTTPS, and what they were told: the campaigns' clients and judge.

A station sends a request again, byte for byte, until it is answered 200; nothing else that a registry may say of a good
statement is right but 503. What was acknowledged is held against the database afterwards, in SQL of the judge's own.
"""

from __future__ import annotations

import http.client
import random
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
from sqlalchemy import make_url

from tests.registry.access import StationClient, station_of
from tests.registry.fleet import Fleet
from tests.registry.make import Device
from trust.dsse import Envelope

_TIMEOUT_S = 15.0
_TRIES = 4
_WHO_ASKS = 401


class NoAnswerError(Exception):
    """Nothing came back, or 503: the same request again is right."""


class ViolationError(AssertionError):
    """The registry said what it must never say."""


@dataclass(slots=True)
class Line:
    """One station's connections, kept open; each request goes to a process by chance, as behind a load balancer."""

    client: StationClient
    ports: Sequence[int]
    context: ssl.SSLContext
    _open: dict[int, http.client.HTTPSConnection] = field(default_factory=dict)

    @property
    def station(self) -> str:
        return self.client.name

    def ask(self, method: str, path: str, body: bytes | None = None, *, port: int | None = None) -> tuple[int, bytes]:
        """Status and body, as this station; NoAnswerError when the connection went."""
        chosen = random.choice(self.ports) if port is None else port
        for _ in range(_TRIES):
            if self.client.token is None:
                self._sign_in(chosen)
            status, said = self._exchange(chosen, method, path, body, self.client.headers(method, path))
            if status != _WHO_ASKS:
                break
            if b'"access-token-invalid"' in said:
                self.client.token = None
        return status, said

    def _sign_in(self, port: int) -> None:
        for _ in range(_TRIES):
            shown = {
                "content-type": "application/x-www-form-urlencoded",
                "dpop": self.client.proof("POST", "/oauth/token"),
            }
            status, said = self._exchange(port, "POST", "/oauth/token", self.client.form(), shown)
            if status == 200:
                self.client.token = msgspec.json.decode(said)["access_token"]
                return
        raise NoAnswerError(f"no access token: {status} {said.decode()}")

    def _exchange(
        self, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        line = self._open.pop(port, None) or http.client.HTTPSConnection(
            "localhost", port, timeout=_TIMEOUT_S, context=self.context
        )
        try:
            line.request(method, path, body, headers)
            answer = line.getresponse()
            said = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            line.close()
            raise NoAnswerError(f"{port}: {error!r}") from error
        self.client.nonce = answer.getheader("dpop-nonce") or self.client.nonce
        self._open[port] = line
        return said

    def put(self, path: str, body: bytes, *, port: int | None = None) -> dict[str, Envelope]:
        """The envelopes of the answer; NoAnswerError for 503, ViolationError for anything else that is not 200."""
        status, said = self.ask("PUT", path, body, port=port)
        if status == 503:
            raise NoAnswerError(said.decode())
        if status != 200:
            raise ViolationError(f"{path}: {status} {said.decode()}")
        answer = msgspec.json.decode(said, type=dict[str, msgspec.Raw])
        return {name: Envelope.from_json(bytes(part)) for name, part in answer.items() if bytes(part)[:1] == b"{"}

    def close(self) -> None:
        for each in self._open.values():
            each.close()
        self._open.clear()


def line_of(fleet: Fleet, station: str) -> Line:
    """A station's way to the processes."""
    return Line(station_of(fleet.made, station), fleet.ports, fleet.tls())


@dataclass(slots=True)
class Told:
    """What the stations were told, and how long it took. Added to from many threads."""

    receipts: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    again: int = 0
    violations: list[str] = field(default_factory=list)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self, device: str, receipt: str, took_s: float, tries: int) -> None:
        """One acknowledgement; two that differ are a violation."""
        with self._turn:
            before = self.receipts.setdefault(device, receipt)
            if before != receipt:
                self.violations.append(f"device {device} was given two receipts")
            self.seconds.append(took_s)
            self.again += tries - 1
            if tries > 1:
                self.gaps.append(took_s)

    def wrong(self, text: str) -> None:
        with self._turn:
            self.violations.append(text)

    def p95_ms(self) -> float:
        return 1000 * sorted(self.seconds)[int(0.95 * len(self.seconds))] if self.seconds else 0.0


def pin_body(fleet: Fleet, station: str, device: Device) -> bytes:
    """The body of a pin's request."""
    made = fleet.made
    statement, order = made.pin(device, station=station), made.order_envelope
    return msgspec.json.encode({"statement": msgspec.Raw(statement.to_json()), "order": msgspec.Raw(order.to_json())})


@dataclass(slots=True)
class Load:
    """So many stations, each pinning without a pause until told to stop."""

    fleet: Fleet
    clients: int
    told: Told = field(default_factory=Told)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        names = sorted(self.fleet.made.stations)
        for number in range(self.clients):
            thread = threading.Thread(target=self._run, args=(names[number % len(names)],), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Every device that was begun is finished first, so the registry must be well."""
        self._stop.set()
        for each in self._threads:
            each.join(60)
            assert not each.is_alive(), "a station is still waiting for its answer"

    def _run(self, station: str) -> None:
        line = line_of(self.fleet, station)
        try:
            while not self._stop.is_set():
                self._one(line, Device())
        except Exception as error:
            self.told.wrong(f"{station}: {error!r}")
        finally:
            line.close()

    def _one(self, line: Line, device: Device) -> None:
        body, began, tries = pin_body(self.fleet, line.station, device), time.monotonic(), 0
        while True:
            tries += 1
            try:
                answer = line.put(f"/v1/pins/{device.device_id}", body)
            except NoAnswerError:
                time.sleep(random.uniform(0.02, 0.1))
            else:
                self.told.take(
                    str(device.device_id), answer["receipt"].to_json().decode(), time.monotonic() - began, tries
                )
                return


def judge(database_url: str, told: Told) -> list[str]:
    """Everything that the database does not hold as the stations were told; and what it holds twice."""
    wrong, given = list(told.violations), dict(told.receipts)  # before the database is asked: the load may still run
    with connected(database_url) as connection:
        rows = connection.execute(
            "SELECT pins.device_id, receipts.envelope FROM pins LEFT JOIN receipts USING (statement_sha256)"
        ).fetchall()
        twice = connection.execute(
            "SELECT count(*) - count(DISTINCT device_id), count(*) - count(DISTINCT fingerprint), "
            "count(*) - count(DISTINCT statement_sha256) FROM pins"
        ).fetchone()
        counted = connection.execute("SELECT coalesce(sum(pins), 0) FROM order_counts").fetchone()
    held = {device: None if receipt is None else bytes(receipt).decode() for device, receipt in rows}
    lost = [device for device in given if device not in held]
    wrong += [f"{len(lost)} acknowledged pins are lost, one is {lost[0]}"] if lost else []
    other = [device for device, receipt in given.items() if device in held and held[device] != receipt]
    wrong += [f"{len(other)} receipts are not the one that was given, one is of {other[0]}"] if other else []
    if twice != (0, 0, 0):
        wrong.append(f"devices, keys, statements that are there twice: {twice}")
    if counted is not None and int(counted[0]) != len(rows):
        wrong.append(f"orders count {counted[0]} pins, {len(rows)} are there")
    return wrong


def connected(database_url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of the judge's own, to whichever server of the URL takes writes."""
    url = make_url(database_url)
    hosts = url.query.get("host", ())
    return psycopg.connect(
        host=hosts if isinstance(hosts, str) else ",".join(hosts), dbname=url.database, user=url.username,
        target_session_attrs="read-write", autocommit=True,
    )  # fmt: skip
