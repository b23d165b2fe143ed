"""64 clients ask for the last unit of an order, over and over: each time one gets it, and the count is never exceeded.

The order's limit is raised by one before each round, so that each round is a race for the last unit again; the statements
that were refused race again, and a winner's place is taken by a new device. `make soak` makes 100,000 attempts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsm.client import SignerClient
from hsm.counters import Counters
from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties, make_factory, make_parties
from tests.hsm.served import served
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import PinStatement

CLIENTS, SERVERS = 64, 4


@dataclass(slots=True)
class Result:
    """What the attempts came to."""

    attempts: int = 0
    signed: int = 0
    exceeded: int = 0
    seconds: float = 0.0

    @property
    def figures(self) -> str:
        rate = self.attempts / self.seconds
        return f"last unit: {self.attempts} attempts, {self.signed} signed, count exceeded {self.exceeded} times, {rate:.0f}/s"


async def campaign(base: Path, attempts: int, *, orderly: bool = True) -> Result:
    """Rounds of one unit each, 64 clients on connections of their own to four servers over one counters file."""
    parties = make_parties(base)
    floor = Floor(parties.trusted, make_order(parties.trusted, quantity=1, allowance=0), parties.factory, parties.cloud)
    parties.factory.sign_pin(floor.pin(Device()))
    counters, result = parties.factory.signatory.counters, Result()
    async with AsyncExitStack() as stack:
        clients = await _clients(stack, base, parties)
        pins = [floor.pin(Device()) for _ in range(CLIENTS)]
        began = time.monotonic()
        while result.attempts < attempts:
            counters.raise_limit(floor.order.order_id, 1)
            answers = await asyncio.gather(*(_ask(*each) for each in zip(clients, pins, strict=True)))
            won = [number for number, answer in enumerate(answers) if isinstance(answer, Envelope)]
            result.attempts += len(answers)
            result.signed += len(won)
            result.exceeded += max(0, len(won) - 1)
            assert won or not orderly, f"nobody got the unit: {set(answers)}"
            assert not orderly or {each for each in answers if isinstance(each, Code)} <= {Code.ORDER_EXHAUSTED}
            for number in won:
                pins[number] = floor.pin(Device())
        result.seconds = time.monotonic() - began
    (count,) = counters.order_counts()
    assert count.pins <= count.pin_limit or result.exceeded
    return result


async def _clients(stack: AsyncExitStack, base: Path, parties: Parties) -> list[SignerClient]:
    clients: list[SignerClient] = []
    for number in range(SERVERS):
        policy = make_factory(base / "factory", "st-01", parties.trusted, parties.factory_token)
        await stack.enter_async_context(served(policy, base / f"{number}.sock"))
        clients += [SignerClient(base / f"{number}.sock") for _ in range(CLIENTS // SERVERS)]
    for client in clients:
        stack.push_async_callback(client.close)
        await client.status()
    return clients


async def _ask(client: SignerClient, pin: PinStatement) -> Envelope | Code:
    try:
        return await client.sign_pin(pin)
    except SignerError as error:
        return error.code


@pytest.mark.timeout(60)
def test_the_count_is_never_exceeded(short_dir: Path, record_property: Callable[[str, object], None]) -> None:
    """A slice: `make soak` makes 100,000 attempts."""
    result = asyncio.run(campaign(short_dir, 2_500))
    record_property("figures", result.figures)
    assert result.exceeded == 0


@pytest.mark.soak
def test_the_count_is_never_exceeded_in_100_000(
    short_dir: Path, record_property: Callable[[str, object], None]
) -> None:
    result = asyncio.run(campaign(short_dir, 100_000))
    record_property("figures", result.figures)
    print(result.figures)
    assert result.exceeded == 0


def test_check_and_count_in_two_transactions_are_caught(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""

    @contextmanager
    def no_transaction(self: Counters) -> Iterator[None]:
        yield

    def check_then_count(self: Counters, kind: str, order_id: str) -> bool:
        pins, limit = self.run("SELECT pins, pin_limit FROM orders WHERE id = ?", order_id).fetchone()
        if pins >= limit:
            return False
        time.sleep(0.3)  # long enough for the others to look, too
        self.run("UPDATE orders SET pins = min(pin_limit, pins + 1) WHERE id = ?", order_id)
        return True

    monkeypatch.setattr(Counters, "transaction", no_transaction)
    monkeypatch.setattr(Counters, "savepoint", no_transaction)
    monkeypatch.setattr(Counters, "take_unit", check_then_count)
    result = asyncio.run(campaign(short_dir, 4 * CLIENTS, orderly=False))
    assert result.exceeded > 0, result
