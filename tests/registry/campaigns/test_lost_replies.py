"""Replies lost after the commit, requests that arrive twice, and requests that arrive long after: one pin, one receipt.

What the network does is done at the station's end of the line, where the registry cannot tell it from the real thing: a
reply is read to its end, so that all is committed, and thrown away; a request is sent to two processes at once; or it is
kept back and arrives when the device is pinned, or completed, already. Negative control: on a database whose receipts
may be there twice, the campaign says so.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from tests.registry.fleet import Fleet, make_fleet, running
from tests.registry.load import Line, NoAnswerError, Told, ViolationError, judge, line_of, pin_body
from tests.registry.make import Device
from tests.registry.postgres import Server
from trust.dsse import Envelope

LOST, TWICE, LATE = 0.3, 0.1, 0.1


@dataclass(slots=True)
class Network:
    """What happens to requests and replies, and how often it did."""

    fleet: Fleet
    told: Told
    happened: Counter[str] = field(default_factory=Counter)
    late: queue.Queue[tuple[float, str, str, bytes] | None] = field(default_factory=queue.Queue)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def put(self, lines: tuple[Line, Line], path: str, body: bytes) -> dict[str, Envelope]:
        """One attempt; NoAnswerError if the station hears nothing."""
        chance = random.random()
        if chance < LATE:
            self._count("late")
            self.late.put((time.monotonic() + random.uniform(0.05, 1.0), lines[0].station, path, body))
            raise NoAnswerError("kept back")
        if chance < LATE + TWICE:
            self._count("twice")
            self._count("requests")
            return self._twice(lines, path, body)
        answer = lines[0].put(path, body)
        self._count("requests")
        if chance < LATE + TWICE + LOST:
            self._count("lost")
            raise NoAnswerError("its reply was lost")
        return answer

    def _twice(self, lines: tuple[Line, Line], path: str, body: bytes) -> dict[str, Envelope]:
        other: list[dict[str, Envelope]] = []

        def ask() -> None:
            try:
                other.append(lines[1].put(path, body, port=self.fleet.ports[1]))
            except NoAnswerError:
                pass
            except ViolationError as error:
                self.told.wrong(f"twice: {error}")

        second = threading.Thread(target=ask)
        second.start()
        answer = lines[0].put(path, body, port=self.fleet.ports[0])
        second.join(30)
        self._count("requests")
        if other:
            _compare(self.told, path, answer, other[0])
        return answer

    def deliver_late(self) -> None:
        """Send what was kept back when its time has come; its answer goes nowhere, but must be a right one."""
        lines = {name: line_of(self.fleet, name) for name in self.fleet.made.stations}
        while (entry := self.late.get()) is not None:
            due, name, path, body = entry
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                lines[name].put(path, body)
            except NoAnswerError:
                pass
            except ViolationError as error:
                self.told.wrong(f"late: {error}")
            self._count("requests")
        for line in lines.values():
            line.close()

    def _count(self, what: str) -> None:
        with self._turn:
            self.happened[what] += 1


def _compare(told: Told, path: str, one: dict[str, Envelope], two: dict[str, Envelope]) -> None:
    """Two answers to one request at one time: the same receipts; a completion may be in the later one only."""
    for name in one.keys() & two.keys():
        if one[name] != two[name]:
            told.wrong(f"{path}: two {name}")


def station(network: Network, name: str, enough: Callable[[], bool]) -> None:
    """Pin and complete device after device, each request until it is answered."""
    fleet, told = network.fleet, network.told
    lines = (line_of(fleet, name), line_of(fleet, name))

    def until_answered(path: str, body: bytes) -> dict[str, Envelope]:
        while True:
            try:
                return network.put(lines, path, body)
            except NoAnswerError:
                time.sleep(random.uniform(0.0, 0.02))

    try:
        while not enough():
            device, began = Device(), time.monotonic()
            path = f"/v1/pins/{device.device_id}"
            body = pin_body(fleet, name, device)
            answer = until_answered(path, body)
            told.take(str(device.device_id), answer["receipt"].to_json().decode(), time.monotonic() - began, 1)
            completion = fleet.made.completion(device, answer["statement"], answer["receipt"], station=name)
            done = until_answered(
                f"{path}/completion", msgspec.json.encode({"completion": msgspec.Raw(completion.to_json())})
            )
            again = until_answered(path, body)  # a station that has forgotten: the same receipt, whatever came between
            for each in (done, again):
                told.take(str(device.device_id), each["receipt"].to_json().decode(), 0.0, 1)
            if done["completion_receipt"] != again["completion_receipt"] or again["completion"] != completion:
                told.wrong(f"{path}: two completions")
    except Exception as error:
        told.wrong(f"{name}: {error!r}")
    finally:
        for each in lines:
            each.close()


def campaign(fleet: Fleet, *, requests: int, clients: int) -> tuple[Network, list[str]]:
    """So many requests, then what is wrong."""
    network = Network(fleet, Told())
    late = [threading.Thread(target=network.deliver_late) for _ in range(4)]
    for each in late:
        each.start()

    def enough() -> bool:
        return network.happened["requests"] >= requests or bool(network.told.violations)

    names = sorted(fleet.made.stations)
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: station(network, names[number % len(names)], enough), range(clients)))
    for _ in late:
        network.late.put(None)
    for each in late:
        each.join(60)
    return network, judge(fleet.database_url, network.told)


def run(postgres: Server, place: Path, *, requests: int, clients: int) -> str:
    name, began = postgres.migrated(), time.monotonic()
    with running(make_fleet(place, postgres.url(name), 2, stations=clients, quantity=2 * requests)) as fleet:
        network, wrong = campaign(fleet, requests=requests, clients=clients)
    assert wrong == []
    seen = network.happened
    return (
        f"lost replies: {seen['requests']} requests, {seen['lost']} replies lost, {seen['twice']} requests twice, "
        f"{seen['late']} late; {len(network.told.receipts)} devices, 0 doubles, {time.monotonic() - began:.0f} s"
    )


@pytest.mark.timeout(120)
def test_some_hundred_requests(
    postgres: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("figures", run(postgres, tmp_path, requests=600, clients=8))


@pytest.mark.soak
def test_fifty_thousand_requests(
    postgres: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    record_property("figures", run(postgres, tmp_path, requests=50_000, clients=32))


@pytest.mark.timeout(120)
def test_control_where_receipts_may_be_there_twice_it_says_so(postgres: Server, tmp_path: Path) -> None:
    """Seen as two receipts of one statement, or by the registry itself: where it finds two, it answers 500.

    Rightly: no request can bring that about while the constraint stands, so it is a bug, and never the station's.
    """
    name = postgres.migrated()
    postgres.sql("ALTER TABLE receipts DROP CONSTRAINT pk_receipts", name)
    with running(make_fleet(tmp_path, postgres.url(name), 2, stations=8, quantity=10_000)) as fleet:
        _, wrong = campaign(fleet, requests=2000, clients=8)
    assert wrong
