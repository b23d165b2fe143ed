"""An order whose approvals changed while its statements waited: the registry gets those that hold now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from station.cloud import CloudUnreachableError
from station.jobs import RecordKind
from station.outbox import Outbox
from tests.registry.make import World, ec_key, signed, world
from tests.station import ledgerkit as kit
from trust.dsse import Envelope


class Away:
    """A registry that does not answer, and remembers the orders that it was sent."""

    def __init__(self) -> None:
        self.orders: list[Envelope] = []

    async def pin(self, _device: Any, _statement: Envelope, order: Envelope) -> Any:
        self.orders.append(order)
        raise CloudUnreachableError("away")


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def sent(directory: Path, made: World, under: Envelope | None, kept: Envelope | None = None) -> Envelope:
    """The order that goes with a waiting pin statement, in a batch under this one."""
    registry = Away()

    async def drain() -> None:
        store = kit.store_at(directory / "station.db", made)
        await store.keep_order(kept or made.order_envelope)
        await kit.bring_to(store, made, RecordKind.PIN)
        if under is not None and under.same_statement(made.order_envelope):
            await store.keep_order(under)
        box = Outbox(store, registry, root=made.trusted, stamp=kit.stamp(made), stop_line=print, order=under)  # type: ignore[arg-type]
        await box.drain_once()
        await store.close()

    kit.run(drain())
    (order,) = registry.orders
    return order


def test_without_another_one_it_is_the_ledgers(tmp_path: Path, made: World) -> None:
    assert sent(tmp_path, made, None) == made.order_envelope


def test_newer_approvals_of_the_same_order_go_along(tmp_path: Path, made: World) -> None:
    first, newer = signed(made.order, ec_key()), signed(made.order, ec_key())
    assert sent(tmp_path, made, newer, kept=first) == newer
    entries = kit.rows(tmp_path / "station.db", "SELECT entry FROM leaves WHERE step = 'order'")
    assert entries == [(first.to_json(),)], "the log keeps the first"


def test_another_order_goes_with_no_statement_of_this_one(tmp_path: Path, made: World) -> None:
    other = signed(msgspec.structs.replace(made.order, order_id="order-9"), ec_key())
    assert sent(tmp_path, made, other) == made.order_envelope
