"""Receipts signed together: each gets its own, one that fails is its own affair, and nobody is left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from hsm.signer import SignerError, SignerUnavailableError
from registry.pins.together import Together
from tests.registry.make import SoftwareReceiptSigner, World, world
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Receipt, read

THREADS = 24


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def receipt(made: World, number: int) -> Receipt:
    return Receipt(
        environment="demo", root_sha256=made.trusted.sha256, registry="registry-01", subject="pin",
        statement_sha256=f"{number:064x}", order_id="order-7", job=f"{number:032x}", device_id=f"{number:024x}",
        fingerprint="f" * 64, state="provisional", registered_at="2026-11-22T20:00:00.000Z",
    )  # fmt: skip


@dataclass(slots=True)
class Slow(SoftwareReceiptSigner):
    """A signer that takes its time for a request, however many receipts it holds, and refuses one of them."""

    requests: list[int] = field(default_factory=list)
    refused: int = -1
    at_once: int = 0
    bug: bool = False

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        (answer,) = self.sign_receipts([receipt])
        if isinstance(answer, SignerError):
            raise answer
        return answer

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        self.at_once += 1
        assert self.at_once == 1, "two requests at once"
        self.requests.append(len(receipts))
        time.sleep(0.05)
        self.at_once -= 1
        if self.bug:
            raise ZeroDivisionError
        if self.fault is not None:
            raise self.fault
        return [
            SignerError(Code.STATEMENT_INVALID, "planted") if int(each.statement_sha256, 16) == self.refused
            else SoftwareReceiptSigner.sign_receipt(self, each)
            for each in receipts
        ]  # fmt: skip


@pytest.fixture
def slow(made: World) -> Slow:
    return Slow(made.trusted, made.receipt_key)


def all_at_once(sign: Callable[[Receipt], Envelope], made: World) -> list[Envelope | Exception]:
    start = threading.Barrier(THREADS)

    def one(number: int) -> Envelope | Exception:
        start.wait()
        try:
            return sign(receipt(made, number))
        except (SignerError, SignerUnavailableError, ZeroDivisionError) as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def test_many_are_signed_in_few_requests_and_each_gets_its_own(made: World, slow: Slow) -> None:
    found = all_at_once(Together(slow).sign_receipt, made)
    for number, each in enumerate(found):
        assert isinstance(each, Envelope) and read(each, Receipt) == receipt(made, number)
    assert len(slow.requests) <= 4 and sum(slow.requests) == THREADS


def test_control_alone_each_is_a_request(made: World, slow: Slow) -> None:
    turn = threading.Lock()

    def sign(wanted: Receipt) -> Envelope:
        with turn:
            return slow.sign_receipt(wanted)

    all_at_once(sign, made)
    assert len(slow.requests) == THREADS


def test_no_request_holds_more_than_a_frame(made: World, slow: Slow) -> None:
    all_at_once(Together(slow, most=5).sign_receipt, made)
    assert max(slow.requests) <= 5 and sum(slow.requests) == THREADS


def test_one_that_is_refused_harms_none_beside_it(made: World, slow: Slow) -> None:
    slow.refused = 7
    found = all_at_once(Together(slow).sign_receipt, made)
    assert [number for number, each in enumerate(found) if not isinstance(each, Envelope)] == [7]


@pytest.mark.parametrize("bug", [False, True], ids=["away", "bug"])
def test_when_the_signer_fails_everybody_is_told_and_the_next_is_signed(bug: bool, made: World, slow: Slow) -> None:
    slow.fault, slow.bug = SignerUnavailableError("planted"), bug
    together = Together(slow)
    wanted = ZeroDivisionError if bug else SignerUnavailableError
    assert {type(each) for each in all_at_once(together.sign_receipt, made)} == {wanted}
    slow.fault, slow.bug = None, False
    assert read(together.sign_receipt(receipt(made, 1)), Receipt).device_id == f"{1:024x}"


def test_alone_it_goes_by_the_verb_for_one(made: World) -> None:
    signer = SoftwareReceiptSigner(made.trusted, made.receipt_key)
    signed = Together(signer).sign_receipt(receipt(made, 3))
    assert read(signed, Receipt) == receipt(made, 3)
