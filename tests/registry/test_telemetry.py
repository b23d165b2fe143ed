"""Health, metrics and where they are served: bounded, cached, and nothing of a device, a caller or a request in them."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import Counter

from registry.database import Database, sqlite_url
from registry.schema import head
from registry.telemetry.health import Health
from registry.telemetry.metrics import Metrics
from registry.telemetry.parts import writable
from tests.registry.running import Plant, plant_at
from trust.codes import Code

LABELS = {"route", "method", "status", "code", "le", "version", "environment"}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def unwanted(names: Iterable[tuple[str, tuple[str, ...]]]) -> set[str]:
    """Labels that are not of the closed sets."""
    return {label for _, labels in names for label in labels} - LABELS


def test_labels_are_of_closed_sets() -> None:
    metrics = Metrics(version="1", environment="demo")
    metrics.answered("/v1/pins/{device_id}", "BREW", 200, 0.01)
    metrics.refused(Code.NOT_PINNED)
    assert unwanted(metrics.names()) == set()
    assert b'method="other"' in metrics.text() and b"BREW" not in metrics.text()
    Counter("planted", "A leak.", ("device_id",), registry=metrics._all).labels("ab" * 12).inc()
    assert unwanted(metrics.names()) == {"device_id"}, "control: a label of a device is seen"


# ---- health


def test_a_question_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ended there would leave the part unwell until a restart."""
    monkeypatch.setattr("registry.telemetry.health._EVERY_S", 0.01)
    failing = threading.Event()
    failing.set()

    def question() -> bool:
        if failing.is_set():
            raise ZeroDivisionError
        return True

    health = Health({"database": (question, Code.STORE_FAILED)})
    health.watch()
    try:
        until(lambda: health.wrong() == ("database", Code.STORE_FAILED) and "database" in health._found)
        failing.clear()
        until(lambda: health.wrong() is None)
    finally:
        health.end()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_asks_gets_the_last_answer_and_asks_nobody() -> None:
    asked: list[str] = []

    def question() -> bool:
        asked.append("database")
        return True

    clock = Clock()
    health = Health({"database": (question, Code.STORE_FAILED)}, monotonic=clock)
    assert health.wrong() == ("database", Code.STORE_FAILED), "nobody has looked yet"
    health.look()
    for _ in range(1000):
        assert health.wrong() is None
    assert asked == ["database"]
    clock.now += 60
    assert health.wrong() == ("database", Code.STORE_FAILED), "what was asked since does not answer"
    health.look()
    assert health.wrong() is None


def test_a_part_that_hangs_is_not_well_and_keeps_no_other_waiting() -> None:
    clock, released = Clock(), threading.Event()
    looked = threading.Event()

    def hangs() -> bool:
        return released.wait(10)

    def answers() -> bool:
        looked.set()
        return True

    health = Health(
        {"database": (hangs, Code.STORE_FAILED), "signer": (answers, Code.TOKEN_UNAVAILABLE)}, monotonic=clock
    )
    health.watch()
    assert looked.wait(5)
    assert health.wrong() == ("database", Code.STORE_FAILED)
    released.set()
    until = time.monotonic() + 5
    while health.wrong() is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert health.wrong() is None
    health.end()


def test_the_first_part_that_is_not_well_is_named() -> None:
    health = Health({
        "database": (lambda: True, Code.STORE_FAILED), "signer": (lambda: False, Code.TOKEN_UNAVAILABLE)
    })  # fmt: skip
    health.look()
    assert health.wrong() == ("signer", Code.TOKEN_UNAVAILABLE)


@pytest.mark.both_databases
def test_a_database_is_well_when_it_takes_a_write_of_this_version(database: Database) -> None:
    assert writable(database, head())
    assert not writable(database, "0001"), "an older program's, or a newer one's"
    if database.engine.dialect.name == "postgresql":
        name = database.engine.url.database
        with database.write() as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        again = Database.open(database.engine.url.render_as_string(hide_password=False))
        assert not writable(again, head())
        again.close()


def test_a_database_that_only_reads_is_not_well(tmp_path: Path, database: Database, migrated: bytes) -> None:
    path = tmp_path / "read-only.db"
    path.write_bytes(migrated)
    reading = Database.open(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert not writable(reading, head())
    reading.close()
    again = Database.open(sqlite_url(path))
    assert writable(again, head()), "control: the same file"
    again.close()


# ---- served


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_at(tmp_path) as made:
        yield made


def fetched(url: str, context: ssl.SSLContext | None = None) -> tuple[int, bytes, str]:
    """Status, body and content type."""
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return answer.status, answer.read(), answer.headers["content-type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["content-type"]


def waited_for(url: str, status: int, *, within_s: float = 12.0, context: ssl.SSLContext | None = None) -> bytes:
    until = time.monotonic() + within_s
    while (found := fetched(url, context))[0] != status:
        assert time.monotonic() < until, found
        time.sleep(0.2)
    return found[1]


@pytest.mark.timeout(60)  # starts the program
def test_ready_follows_the_signer_and_live_does_not(plant: Plant) -> None:
    plant.start(METRICS="127.0.0.1")
    url = plant.telemetry()
    trusting = ssl.create_default_context(cadata=plant.tls_root)
    assert url.startswith("http://127.0.0.1:")
    for base, context in ((url, None), (plant.url, trusting)):
        assert waited_for(f"{base}/readyz", 200, context=context) == b'{"status":"ready"}'
        assert fetched(f"{base}/livez", context)[:2] == (200, b'{"status":"live"}')
    down = plant.directory / "signer-mute"
    down.touch()
    assert b'"code":"token-unavailable"' in waited_for(f"{plant.url}/readyz", 503, context=trusting)
    assert fetched(f"{url}/livez")[0] == 200
    down.unlink()
    waited_for(f"{url}/readyz", 200)
    status, text, kind = fetched(f"{url}/metrics")
    assert status == 200 and kind.startswith("text/plain")
    assert b'keystation_registry_requests_total{method="GET",route="/readyz",status="503"}' in text
    assert b"keystation_registry_signer_well 1.0" in text
    assert b'keystation_registry_refusals_total{code="token-unavailable"}' in text
    assert fetched(f"{url}/v1/status")[0] == 404 and fetched(f"{plant.url}/metrics", trusting)[0] == 404
    assert plant.end() == 0


@pytest.mark.timeout(60)  # starts the program
def test_metrics_beyond_this_machine_speak_tls(plant: Plant) -> None:
    plant.start(METRICS="0.0.0.0")
    url = plant.telemetry()
    assert url.startswith("https://0.0.0.0:")
    port = url.rpartition(":")[2]
    assert fetched(f"https://localhost:{port}/livez", ssl.create_default_context(cadata=plant.tls_root))[0] == 200
    with pytest.raises(OSError, match=r"."):
        urllib.request.urlopen(f"http://localhost:{port}/livez", timeout=5)
    assert plant.end() == 0
