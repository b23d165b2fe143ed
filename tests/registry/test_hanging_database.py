"""A PostgreSQL that hangs: everybody is told so in time, nothing is acknowledged that is not durable, and all goes on later.

Two ways to hang: the one synchronous standby hears nothing, so that a commit waits for ever; and the server's processes
stand still. Both are real servers. Negative control: a connection whose waits have no end is not told anything.
"""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from registry import bounded, schema
from registry.bounded import NoAnswerError
from registry.database import Database
from tests.registry.fleet import Fleet, make_fleet, running
from tests.registry.load import Line, Told, judge, line_of, pin_body
from tests.registry.make import Device
from tests.registry.replicas import Pair

pytestmark = pytest.mark.timeout(150)
IN_TIME_S = 30.0  # 8 s for the answer, 5 s for a connection; the rest is for a machine that has much to do
CLIENTS = 12  # more than the registry has connections


@dataclass
class Plant:
    pair: Pair
    url: str
    fleet: Fleet | None = None
    told: Told = field(default_factory=Told)

    def get(self, path: str) -> http.client.HTTPResponse:
        assert self.fleet is not None
        asked = http.client.HTTPSConnection("localhost", self.fleet.ports[0], timeout=60, context=self.fleet.tls())
        asked.request("GET", path)
        return asked.getresponse()

    def ready_is(self, status: int) -> http.client.HTTPResponse:
        end = time.monotonic() + IN_TIME_S
        while (answer := self.get("/readyz")).status != status:
            assert time.monotonic() < end, f"/readyz is {answer.status}"
            time.sleep(0.2)
        return answer


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    pair = Pair.make(on_disk=False)
    try:
        url = pair.url(pair.primary.empty())
        database = Database.open(url)
        schema.upgrade(database)
        database.close()
        made = Plant(pair, url)
        with running(make_fleet(tmp_path_factory.mktemp("hang"), url, 1, stations=CLIENTS, quantity=1000)) as fleet:
            made.fleet = fleet
            yield made
    finally:
        pair.remove()


@contextmanager
def deaf_standby(pair: Pair) -> Iterator[None]:
    pair.pause_receiving()
    try:
        yield
    finally:
        for pid in pair.stopped:
            os.kill(pid, signal.SIGCONT)
        pair.stopped.clear()


@contextmanager
def standing_still(pair: Pair) -> Iterator[None]:
    """The server's own process and all that serve clients."""
    assert pair.primary.process is not None
    found = pair.primary.sql(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    stopped = [pair.primary.process.pid, *(int(str(pid)) for (pid,) in found)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


Hanging = Callable[[Pair], "contextmanager[None]"]


@dataclass
class Asked:
    """One pin, asked for until it is answered."""

    line: Line
    device: Device
    body: bytes
    status: int = 0
    later: str | None = None
    took_s: float = 0.0

    def once(self) -> None:
        path, began = f"/v1/pins/{self.device.device_id}", time.monotonic()
        asked = http.client.HTTPSConnection("localhost", self.line.ports[0], timeout=60, context=self.line.context)
        asked.request("PUT", path, self.body, self.line.client.headers("PUT", path))
        answer = asked.getresponse()
        answer.read()
        self.status, self.later, self.took_s = answer.status, answer.getheader("retry-after"), time.monotonic() - began


def signed_in(fleet: Fleet) -> list[Asked]:
    """A pin of each station, which has an access token and a nonce."""
    found = []
    for station in sorted(fleet.made.stations):
        line, first = line_of(fleet, station), Device()
        line.put(f"/v1/pins/{first.device_id}", pin_body(fleet, station, first))
        device = Device()
        found.append(Asked(line, device, pin_body(fleet, station, device)))
    return found


@pytest.mark.parametrize("hanging", [deaf_standby, standing_still])
def test_everybody_is_told_in_time_and_the_same_pin_is_taken_later(
    plant: Plant, hanging: Hanging, record_property: Callable[[str, object], None]
) -> None:
    assert plant.fleet is not None
    asked = signed_in(plant.fleet)
    with hanging(plant.pair):
        threads = [threading.Thread(target=each.once) for each in asked]
        for each in threads:
            each.start()
        refused = plant.ready_is(503)
        assert refused.getheader("retry-after") == "5"
        began = time.monotonic()
        assert plant.get("/livez").status == 200
        assert time.monotonic() - began < 5.0, "it waits for nobody"
        for each in threads:
            each.join(60)
        assert {(each.status, each.later) for each in asked} == {(503, "5")}, "nothing is acknowledged"
        slowest = max(each.took_s for each in asked)
        assert slowest < IN_TIME_S
        assert plant.get("/readyz").status == 503
    record_property("figures", f"{hanging.__name__}: {CLIENTS} clients, the last one was told after {slowest:.1f} s")
    plant.ready_is(200)
    for each in asked:
        path = f"/v1/pins/{each.device.device_id}"
        first, again = (_until_taken(each.line, path, each.body) for _ in range(2))
        assert first == again, "one answer"
        plant.told.take(str(each.device.device_id), first, 0.0, 1)
    assert judge(plant.url, plant.told) == []


def _until_taken(line: Line, path: str, body: bytes) -> str:
    end = time.monotonic() + IN_TIME_S
    while True:  # a pin that waited may hold the rows of its station's count a moment longer
        status, said = line.ask("PUT", path, body)
        if status != 503 or time.monotonic() > end:
            break
        time.sleep(0.5)
    assert status == 200, said
    return line.put(path, body)["receipt"].to_json().decode()


@pytest.mark.parametrize(("patience_s", "told"), [(0.5, True), (3600.0, False)], ids=["bounded", "control"])
def test_a_commit_that_waits_for_its_standby_is_given_up_and_not_done_over(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, told: bool
) -> None:
    monkeypatch.setattr(bounded, "ANSWER_S", patience_s)
    database, tries, ends = Database.open(plant.url), [], list[Exception | None]()

    def work() -> None:
        try:
            database.writing(lambda connection: (tries.append(1), connection.execute(text(EMIT))))
            ends.append(None)
        except DBAPIError as error:
            ends.append(error.orig if isinstance(error.orig, Exception) else None)

    thread = threading.Thread(target=work)
    with deaf_standby(plant.pair):
        thread.start()
        thread.join(4.0)
        assert thread.is_alive() is not told
        if told:
            assert isinstance(ends[0], NoAnswerError)
    thread.join(30)
    assert len(tries) == 1
    database.close()


EMIT = "SELECT pg_logical_emit_message(true, 'keystation-test', '')"
