"""The transaction that stores one group's signatures reserves what has come meanwhile: what that changes, and what not."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from hsm.counters.file import StoreError
from hsm.group_commit import Errand, settle
from hsm.policy.pin import PinCase
from hsm.worker import Worker
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from tests.hsm.test_group_commit import Failing, case, settled, used
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import PinStatement


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted, quantity=20), parties.factory, parties.cloud)


def later(*groups: Sequence[Errand]) -> Callable[[int], Sequence[Errand]]:
    """What comes while others are signed, one group at a time."""
    left: Iterator[Sequence[Errand]] = iter(groups)
    return lambda _: next(left, ())


def answers(floor: Floor, first: Sequence[Errand], *groups: Sequence[Errand]) -> dict[int, object]:
    found: dict[int, object] = {}
    for part in settle(floor.factory.signatory.counters, first, later(*groups)):
        for errand, answer in part:
            assert id(errand) not in found, "two answers for one caller"
            found[id(errand)] = answer
    assert len(found) == len(first) + sum(map(len, groups)), "a caller was left without answer"
    return found


def commits(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    counters = floor.factory.signatory.counters
    real, seen = counters.run, list[str]()
    monkeypatch.setattr(
        counters, "run", lambda sql, *values: (sql == "COMMIT" and seen.append(sql)) or real(sql, *values)
    )
    return seen


def test_three_groups_take_four_commits(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [[case(floor), case(floor)] for _ in range(3)]
    seen = commits(floor, monkeypatch)
    found = answers(floor, *groups)
    assert all(isinstance(each, Envelope) for each in found.values())
    assert len(seen) == 4


def test_what_is_asked_again_before_it_is_stored_is_the_same_and_costs_nothing(floor: Floor, parties: Parties) -> None:
    pin = floor.pin(Device())
    errands = [case(floor, pin), case(floor, pin), case(floor, pin)]
    found = answers(floor, errands[:1], errands[1:2], errands[2:])
    assert found[id(errands[0])] == found[id(errands[1])] == found[id(errands[2])]
    status = floor.factory.status()
    assert (used(floor), parties.factory_token.signed["pin"], status.resigned) == (1, 1, 0)


def test_what_is_asked_again_while_a_slow_token_has_others_first_is_signed_once(
    floor: Floor, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsm.group_commit._SIGNING_S", 0.0)
    pins = [floor.pin(Device()) for _ in range(3)]
    twin = case(floor, pins[2])
    errands = [case(floor, each) for each in pins]
    found = answers(floor, errands, [twin])
    assert found[id(twin)] == found[id(errands[2])]
    status = floor.factory.status()
    assert (used(floor), parties.factory_token.signed["pin"], status.resigned) == (3, 3, 0)


class Faulty(PinCase):
    """A bug, found when its turn to be reserved comes."""

    def claim(self) -> None:
        super().claim()
        raise ZeroDivisionError


def test_a_newcomers_bug_does_not_cost_those_who_are_signed_already(floor: Floor, parties: Parties) -> None:
    first, faulty = [case(floor), case(floor)], Faulty(floor.factory.signatory, floor.pin(Device()))
    found: dict[int, object] = {}

    def settle_all() -> None:
        for part in settle(floor.factory.signatory.counters, first, later([faulty])):
            found.update((id(errand), answer) for errand, answer in part)

    with pytest.raises(ZeroDivisionError):
        settle_all()
    assert [isinstance(found[id(each)], Envelope) for each in first] == [True, True]
    status = floor.factory.status()
    assert (used(floor), status.resigned, parties.factory_token.signed["pin"]) == (2, 0, 2)


def test_a_disk_that_is_full_then_answers_both_and_loses_neither(floor: Floor, parties: Parties) -> None:
    pins = [floor.pin(Device()) for _ in range(2)]
    counters = floor.factory.signatory.counters
    counters._connection = Failing(counters._connection, "COMMIT", 2, sqlite3.SQLITE_FULL)  # type: ignore[assignment]
    one, two = case(floor, pins[0]), case(floor, pins[1])
    found = answers(floor, [one], [two])
    assert all(isinstance(found[id(each)], StoreError) for each in (one, two))
    assert (used(floor), parties.factory_token.signed["pin"]) == (1, 1), "the second was not signed: it is not counted"
    again = settled(floor, [case(floor, each) for each in pins])
    assert all(isinstance(each, Envelope) for each in again)
    assert (used(floor), floor.factory.status().resigned) == (2, 1)


def test_the_last_unit_goes_to_one_whichever_group_they_are_in(parties: Parties) -> None:
    order = make_order(parties.trusted, quantity=1, allowance=0)
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    groups = [[case(floor)], [case(floor), case(floor)]]
    found = answers(floor, *groups)
    assert sum(isinstance(each, Envelope) for each in found.values()) == 1
    assert {getattr(each, "code", None) for each in found.values()} == {None, Code.ORDER_EXHAUSTED}


def test_a_call_is_not_kept_waiting_by_those_who_come_without_end(floor: Floor) -> None:
    """Each answer brings the next request; the call has its turn before half of them are through."""
    pins: list[PinStatement] = [floor.pin(Device()) for _ in range(16)]
    done: list[int] = []

    async def client(worker: Worker, mine: list[PinStatement]) -> None:
        for pin in mine:
            await worker.join(PinCase(floor.factory.signatory, pin))
            done.append(1)

    async def main() -> int:
        with ThreadPoolExecutor(1) as thread:
            worker = Worker(floor.factory.signatory.counters, thread)
            busy = threading.Event()
            held = asyncio.create_task(worker.call(lambda: busy.wait(5)))
            clients = [asyncio.create_task(client(worker, pins[number::2])) for number in range(2)]
            await asyncio.sleep(0.01)
            asked = asyncio.create_task(worker.call(lambda: len(done)))
            await asyncio.sleep(0.01)
            busy.set()
            await held
            seen = await asked
            await asyncio.gather(*clients)
            return seen

    assert asyncio.run(main()) <= 4
    assert len(done) == 16
