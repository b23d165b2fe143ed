"""What the builder does before a unit is taken: the outbox is tried, for a bounded time, and a dead ledger is named."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from station.faults import LineStop
from station.jobs import LedgerError
from station.wiring import send_left_over


class Store:
    """As much of a ledger as is asked: so many statements are pending."""

    def __init__(self, pending: int, error: LedgerError | None = None) -> None:
        self.left = pending
        self._error = error

    async def waiting(self) -> int:
        if self._error is not None:
            raise self._error
        return self.left


def sent(store: Store, drain, within_s: float = 5.0):
    made = []

    def make(broken):
        made.append(broken)
        return SimpleNamespace(drain_once=drain)

    return asyncio.run(send_left_over(store, make, within_s)), made  # type: ignore[arg-type]


def test_an_empty_outbox_is_not_spoken_of() -> None:
    async def never() -> None:
        pytest.fail("nothing to send")

    assert sent(Store(0), never) == (None, [])


def test_what_was_left_is_counted_before_and_after() -> None:
    store = Store(3)

    async def two_of_three() -> None:
        store.left = 1

    told, made = sent(store, two_of_three)
    assert told is not None
    assert (told.found, told.waiting, len(made)) == (3, 1, 1)


def test_a_registry_that_does_not_answer_costs_no_more_than_one_of_its_timeouts() -> None:
    store, began = Store(2), time.monotonic()

    async def hang() -> None:
        store.left = 1
        await asyncio.sleep(30)

    told, _ = sent(store, hang, within_s=0.2)
    assert told is not None
    assert (told.found, told.waiting) == (2, 1)
    assert time.monotonic() - began < 5


def test_a_ledger_that_cannot_be_read_keeps_the_batch_from_starting() -> None:
    async def never() -> None:
        pytest.fail("nothing to send")

    with pytest.raises(LineStop) as found:
        sent(Store(1, LedgerError("disk gone")), never)
    assert (found.value.code, found.value.detail) == ("ledger-failed", "disk gone")
