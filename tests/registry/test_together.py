"""Receipts signed together: each gets its own, one that fails is its own affair, and nobody is left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

import pytest

from hsm.signer import ReceiptSigner, SignerError
from registry.database import Database
from registry.errors import ReceiptUnavailableError
from registry.pins.service import PinService
from registry.pins.together import Together
from tests.registry.make import Device, SoftwareReceiptSigner, World, world
from trust.dsse import Envelope
from trust.statement import Receipt, read

THREADS = 24


@pytest.fixture
def made() -> World:
    return world()


def receipt(made: World, number: int) -> Receipt:
    return Receipt(
        environment="demo", root_sha256=made.trusted.sha256, registry="registry-01", subject="pin",
        statement_sha256=f"{number:064x}", order_id="order-7", job=f"{number:032x}", device_id=f"{number:024x}",
        fingerprint="f" * 64, state="provisional", registered_at="2026-11-22T20:00:00.000Z",
    )  # fmt: skip


@dataclass(slots=True)
class Slow:
    """Takes its time for a turn, however many receipts it holds, and refuses one of them."""

    signer: SoftwareReceiptSigner
    turns: list[int] = field(default_factory=list)
    refused: int = -1
    at_once: int = 0
    fault: Exception | None = None

    def make(self, receipts: Sequence[Receipt]) -> list[Envelope | Exception]:
        self.at_once += 1
        assert self.at_once == 1, "two turns at once"
        self.turns.append(len(receipts))
        time.sleep(0.05)
        self.at_once -= 1
        if self.fault is not None:
            raise self.fault
        return [
            ReceiptUnavailableError("planted") if int(each.statement_sha256, 16) == self.refused
            else self.signer.sign_receipt(each)
            for each in receipts
        ]  # fmt: skip


@pytest.fixture
def slow(made: World) -> Slow:
    return Slow(SoftwareReceiptSigner(made.trusted, made.receipt_key))


def all_at_once(sign: Callable[[Receipt], Envelope], made: World) -> list[Envelope | Exception]:
    start = threading.Barrier(THREADS)

    def one(number: int) -> Envelope | Exception:
        start.wait()
        try:
            return sign(receipt(made, number))
        except (ReceiptUnavailableError, ZeroDivisionError) as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_many_are_signed_in_few_requests_and_each_gets_its_own(made: World, slow: Slow) -> None:
    found = all_at_once(Together(slow.make).receipt, made)
    for number, each in enumerate(found):
        assert isinstance(each, Envelope) and read(each, Receipt) == receipt(made, number)
    assert len(slow.turns) <= 4 and sum(slow.turns) == THREADS


def test_control_alone_each_is_a_request(made: World, slow: Slow) -> None:
    turn = threading.Lock()

    def sign(wanted: Receipt) -> Envelope:
        with turn:
            (answer,) = slow.make([wanted])
        assert isinstance(answer, Envelope)
        return answer

    all_at_once(sign, made)
    assert len(slow.turns) == THREADS


def test_no_request_holds_more_than_a_frame(made: World, slow: Slow) -> None:
    all_at_once(Together(slow.make, most=5).receipt, made)
    assert max(slow.turns) <= 5 and sum(slow.turns) == THREADS


def test_one_that_is_refused_harms_none_beside_it(made: World, slow: Slow) -> None:
    slow.refused = 7
    found = all_at_once(Together(slow.make).receipt, made)
    assert [number for number, each in enumerate(found) if not isinstance(each, Envelope)] == [7]


def test_when_a_turn_fails_everybody_in_it_is_told_and_the_next_is_made(made: World, slow: Slow) -> None:
    slow.fault = ZeroDivisionError("planted")
    together = Together(slow.make)
    assert {type(each) for each in all_at_once(together.receipt, made)} == {ZeroDivisionError}
    slow.fault = None
    assert read(together.receipt(receipt(made, 1)), Receipt).device_id == f"{1:024x}"


def test_a_turn_that_is_cut_off_leaves_nobody_waiting(made: World, slow: Slow) -> None:
    """Its thread is ended, by no error: the others are told to come again, and the next turn is made."""
    begun, ending = threading.Event(), threading.Event()

    def make(receipts: Sequence[Receipt]) -> list[Envelope | Exception]:
        if ending.is_set():
            return slow.make(receipts)
        begun.set()
        ending.wait(5)
        raise SystemExit

    together = Together(make, most=2)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(together.receipt, receipt(made, 1))
        assert begun.wait(5)
        others = [pool.submit(together.receipt, receipt(made, number)) for number in (2, 3)]
        ending.set()
        assert isinstance(first.exception(5), SystemExit)
        assert {type(each.result(5)) for each in others} == {Envelope}
        assert isinstance(together.receipt(receipt(made, 4)), Envelope)


def test_whose_turn_was_cut_off_under_it_is_told_to_come_again(made: World) -> None:
    def make(receipts: Sequence[Receipt]) -> list[Envelope | Exception]:
        if len(receipts) > 1:
            raise SystemExit
        while len(together._waiting) < 2:
            time.sleep(0.01)
        return [ReceiptUnavailableError("planted")]

    together = Together(make)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(together.receipt, receipt(made, 1))
        while not together._at_work:
            time.sleep(0.01)
        others = [pool.submit(together.receipt, receipt(made, number)) for number in (2, 3)]
        assert isinstance(first.exception(5), ReceiptUnavailableError)
        assert {type(each.exception(5)) for each in others} == {SystemExit, ReceiptUnavailableError}


def test_nobody_waits_for_ever(made: World) -> None:
    going = threading.Event()

    def make(receipts: Sequence[Receipt]) -> list[Envelope | Exception]:
        going.wait(10)
        return [ReceiptUnavailableError("planted") for _ in receipts]

    together = Together(make, wait_s=0.2)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(together.receipt, receipt(made, 1))
        while not together._at_work:
            time.sleep(0.01)
        with pytest.raises(ReceiptUnavailableError, match="send the same request again"):
            together.receipt(receipt(made, 2))
        assert together._waiting == []
        going.set()
        assert isinstance(first.exception(5), ReceiptUnavailableError)


def test_pins_at_one_moment_cost_signer_and_database_fewer_turns_than_pins(
    database: Database, made: World, signer: SoftwareReceiptSigner
) -> None:
    """With the real service; each of them has its own receipt, kept, and the signer was asked for many at once."""
    asked: list[int] = []
    many, one = signer.sign_receipts, signer.sign_receipt

    class Counting:
        def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
            asked.append(len(receipts))
            time.sleep(0.02)
            return many(receipts)

        def sign_receipt(self, wanted: Receipt) -> Envelope:
            asked.append(1)
            time.sleep(0.02)
            return one(wanted)

    service = PinService(database, made.trusted, cast("ReceiptSigner", Counting()))
    devices = [Device() for _ in range(THREADS)]
    bodies = [made.pin(each) for each in devices]
    with ThreadPoolExecutor(THREADS) as pool:
        pinned = list(
            pool.map(
                lambda each: service.pin(each[0].device_id, each[1], made.order_envelope),
                zip(devices, bodies, strict=True),
            )
        )
    for body, record in zip(bodies, pinned, strict=True):
        assert read(record.pin.receipt, Receipt).statement_sha256 == body.payload_sha256
        assert service.find(record.device) == record
    assert sum(asked) == THREADS and len(asked) < THREADS
