"""32 clients ask for the order's last unit at once: one gets it, over real sockets, also when signers share the counters.

Four servers with a connection of their own to one counters file make the race real between transactions; one server
alone settles many requests in one group, which must not make one check do for several counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsm import group_commit
from hsm.client import SignerClient
from hsm.counters import Counters
from hsm.group_commit import Errand
from hsm.policy.pin import PinCase
from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import make_factory, make_parties
from tests.hsm.served import served
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import PinStatement

CLIENTS, SERVERS, QUANTITY = 32, 4, 3


async def race(base: Path, servers: int) -> list[Envelope | Code]:
    """All but one unit used; then 32 devices at once."""
    parties = make_parties(base)
    order = make_order(parties.trusted, quantity=QUANTITY, allowance=0)
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    for _ in range(QUANTITY - 1):
        parties.factory.sign_pin(floor.pin(Device()))
    pins = [floor.pin(Device()) for _ in range(CLIENTS)]
    async with AsyncExitStack() as stack:
        clients = []
        for number in range(servers):
            policy = make_factory(base / "factory", "st-01", parties.trusted, parties.factory_token)
            await stack.enter_async_context(served(policy, base / f"{number}.sock"))
            clients += [SignerClient(base / f"{number}.sock") for _ in range(CLIENTS // servers)]
        for client in clients:
            stack.push_async_callback(client.close)
            await client.status()
        return await asyncio.gather(*(_ask(client, pin) for client, pin in zip(clients, pins, strict=True)))


async def _ask(client: SignerClient, pin: PinStatement) -> Envelope | Code:
    try:
        return await client.sign_pin(pin)
    except SignerError as error:
        return error.code


def hold_the_count(answers: list[Envelope | Code]) -> None:
    signed = [each for each in answers if isinstance(each, Envelope)]
    assert len(signed) == 1, f"{len(signed)} statements for one unit"
    assert {each for each in answers if isinstance(each, Code)} == {Code.ORDER_EXHAUSTED}


async def _many(base: Path, times: int, servers: int = SERVERS) -> None:
    for number in range(times):
        hold_the_count(await race(base / str(number), servers))


@pytest.mark.parametrize("servers", [1, SERVERS])
def test_the_count_is_never_exceeded(short_dir: Path, servers: int) -> None:
    asyncio.run(_many(short_dir, 3, servers))


def test_one_check_for_a_whole_group_is_caught(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: units are checked before the group's transaction and counted in it."""
    prepared = group_commit._prepared
    seen: dict[int, tuple[int, int]] = {}

    def check_before(errands: Sequence[Errand]) -> Any:
        case = errands[0]
        if isinstance(case, PinCase):
            counters = case.signatory.counters
            seen[id(counters)] = counters.run("SELECT pins, pin_limit FROM orders").fetchone()
        return prepared(errands)

    def count_later(self: Counters, kind: str, order_id: str) -> bool:
        pins, limit = seen[id(self)]
        if pins >= limit:
            return False
        self.run("UPDATE orders SET pins = ? WHERE id = ?", pins + 1, order_id)
        return True

    monkeypatch.setattr(group_commit, "_prepared", check_before)
    monkeypatch.setattr(Counters, "take_unit", count_later)
    with pytest.raises(AssertionError, match="statements for one unit"):
        asyncio.run(_many(short_dir, 3, servers=1))


def test_check_and_count_in_two_steps_are_caught(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the same race, with the check and the count in transactions of their own."""

    @contextmanager
    def no_transaction(self: Counters) -> Iterator[None]:
        yield

    def check_then_count(self: Counters, kind: str, order_id: str) -> bool:
        pins, limit = self.run("SELECT pins, pin_limit FROM orders WHERE id = ?", order_id).fetchone()
        time.sleep(0.05)
        if pins >= limit:
            return False
        self.run("UPDATE orders SET pins = ? WHERE id = ?", pins + 1, order_id)
        return True

    monkeypatch.setattr(Counters, "transaction", no_transaction)
    monkeypatch.setattr(Counters, "savepoint", no_transaction)
    monkeypatch.setattr(Counters, "take_unit", check_then_count)
    with pytest.raises(AssertionError, match="statements for one unit"):
        asyncio.run(_many(short_dir, 3))
