"""An assertion and a proof are good once, however many processes and threads try it at the same moment.

Negative control: the same race with a registry that looks first and inserts then must show more than one winner.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from registry.access.caller import Scope, StationCaller, stations
from registry.access.client_credentials import GRANT_TYPE
from registry.access.denied import DeniedError, Headers
from registry.access.dpop import Proof
from registry.access.guard import Guard, Heading, NoPeople
from registry.access.oauth import OAuthError, read_form
from registry.access.opening import Door, open_door
from registry.access.tokens import Tokens
from registry.database import Database
from registry.tables import used_once
from tests.registry.access import StationClient, station_of
from tests.registry.make import World
from trust.codes import Code
from trust.root import Root

pytestmark = pytest.mark.both_databases
ACCESS = stations(Scope.PINS_READ)
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Try:
    """One request, to be made many times. Picklable: other processes make it too."""

    heading: Heading
    form: bytes | None

    def made(self, door: Door) -> str:
        """What the registry said: `taken`, or the code of its refusal."""
        try:
            if self.form is None:
                door.guard.admit(ACCESS, self.heading)
            else:
                door.grants[GRANT_TYPE](read_form(FORM, self.form), self.heading)
        except (DeniedError, OAuthError) as error:
            return error.code.value
        except OperationalError:  # other processes kept the SQLite file busy for seconds: nothing was decided
            return self.made(door)
        return "taken"


def at_noon() -> datetime:
    """The clock stands still: what is tried again is never refused for its age."""
    return datetime(2026, 11, 30, 12, tzinfo=UTC)


def signed_in(door: Door, made: World) -> StationClient:
    station = station_of(made, now=at_noon().timestamp)
    station.nonce = door.guard._stations.nonce()
    heading = Heading(method="POST", path="/oauth/token", dpop=(station.proof("POST", "/oauth/token"),))
    answer: Any = door.grants[GRANT_TYPE](read_form(FORM, station.form()), heading).answer
    station.token = answer.access_token
    return station


def a_proof(station: StationClient) -> list[Try]:
    """One proof, as often as one likes."""
    shown = station.headers("GET", "/v1/x")
    heading = Heading(method="GET", path="/v1/x", authorization=(shown["authorization"],), dpop=(shown["dpop"],))
    return [Try(heading, None)]


def an_assertion(station: StationClient) -> list[Try]:
    """One assertion, each time with a proof of its own: the assertion alone is what is tried again."""
    form = station.form()
    proofs = [station.proof("POST", "/oauth/token") for _ in range(100)]
    return [Try(Heading(method="POST", path="/oauth/token", dpop=(each,)), form) for each in proofs]


KINDS = [(a_proof, "dpop-invalid"), (an_assertion, "assertion-used")]


def race(door: Door, tries: list[Try], times: int, threads: int = 32) -> Counter[str]:
    """So many tries at the same moment, as far as one process can."""
    start = threading.Barrier(threads)

    def many(first: int) -> list[str]:
        start.wait()
        return [tries[number % len(tries)].made(door) for number in range(first, times, threads)]

    with ThreadPoolExecutor(threads) as pool:
        return Counter(code for each in pool.map(many, range(threads)) for code in each)


@pytest.fixture
def door(database: Database, made: World) -> Door:
    return open_door(database, made.trusted.root, now=at_noon)


@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_of_many_tries_at_once_exactly_one_is_taken(
    kind: Callable[[StationClient], list[Try]], code: str, door: Door, made: World, rows: Callable[[str], int]
) -> None:
    tries = kind(signed_in(door, made))
    tokens_before = rows("access_tokens")
    assert race(door, tries, 320) == {"taken": 1, code: 319}
    assert rows("access_tokens") == tokens_before + (kind is an_assertion)


class LooksFirst(Tokens):
    """What many would write: ask whether the proof was used, and note that it is."""

    def caller(self, token: str, heading: Heading) -> tuple[StationCaller, Headers]:
        proof = self.proof(heading, token)
        with self._database.read() as connection:
            if connection.execute(select(used_once).where(used_once.c.sha256 == _digest(proof))).one_or_none():
                raise DeniedError(401, Code.DPOP_INVALID, "used before")
        time.sleep(0.05)  # as another process would be in between
        with self._database.write() as connection:
            caller = self._holder(connection, token, proof)
            row = {"sha256": _digest(proof), "expires_at": proof.until}
            noting = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
            connection.execute(noting(used_once).on_conflict_do_nothing(), row)
        return caller, ()


def _digest(proof: Proof) -> bytes:
    return hashlib.sha256(f"dpop\0{proof.thumbprint}\0{proof.jti}".encode()).digest()


def test_control_a_registry_that_looks_first_takes_more_than_one(database: Database, made: World, door: Door) -> None:
    tries = a_proof(signed_in(door, made))
    nonces = door.guard._stations._nonces  # type: ignore[attr-defined]
    looking = LooksFirst(database, made.trusted.root, nonces, now=at_noon)
    told = race(Door(guard=Guard(looking, NoPeople()), grants={}), tries, 320)
    assert told["taken"] > 1, told
    assert told["taken"] + told["dpop-invalid"] == 320


# ---- many processes


def _in_a_process(url: str, root: Root, tries: list[Try], times: int, go: Any, told: Any) -> None:
    database = Database.open(url)
    door = open_door(database, root, now=at_noon)
    door.guard._stations.nonce()  # opens the database, as a registry that serves has
    go.wait()
    told.put(dict(race(door, tries, times, 8)))
    database.close()


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "code"), KINDS)
def test_of_10000_tries_by_four_processes_exactly_one_is_taken(
    kind: Callable[[StationClient], list[Try]], code: str, database: Database, made: World, door: Door
) -> None:
    tries, processes = kind(signed_in(door, made)), 4
    spawn = multiprocessing.get_context("spawn")
    go, told = spawn.Event(), spawn.Queue()
    url, root = database.engine.url.render_as_string(hide_password=False), made.trusted.root
    running = [
        spawn.Process(target=_in_a_process, args=(url, root, tries, 10_000 // processes, go, told))
        for _ in range(processes)
    ]
    for each in running:
        each.start()
    go.set()
    found = Counter(told.get(timeout=500)) + Counter(told.get(timeout=500))
    found += Counter(told.get(timeout=500)) + Counter(told.get(timeout=500))
    for each in running:
        each.join(10)
    assert found == {"taken": 1, code: 9_999}
