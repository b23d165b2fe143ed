"""A station's part of an order as it is now: the order's own, raised by acts, less what was returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from station.allotment import allotted
from station.order_report import order_reports
from tests.station import ledgerkit as kit
from tests.station.paperkit import Papered, balance, returned
from trust.dsse import Envelope
from trust.order import Allotment


@pytest.fixture(scope="module")
def papered() -> Papered:
    made = Papered.make()
    parts = {"station-01": Allotment(quantity=6, allowance=2), "station-02": Allotment(quantity=4, allowance=1)}
    return replace(made, made=made.made.with_order(quantity=10, allowance=3, stations=parts))


def part(directory: Path, papered: Papered, papers: Sequence[Envelope]) -> tuple[int, int]:
    """Quantity and allowance, as they are and as the report tells them."""

    async def ask() -> Allotment:
        store = kit.store_at(directory / "station.db", papered.made)
        await store.keep_order(papered.made.order_envelope)
        for each in papers:
            await store.keep_paper(each)
        found = await allotted(store, papered.made.order)
        (report,) = await order_reports(store)
        assert (report.quantity, report.allowance) == (found.quantity, found.allowance)
        await store.close()
        return found

    found = kit.run(ask())
    return found.quantity, found.allowance


def test_without_papers_it_is_the_orders_own(tmp_path: Path, papered: Papered) -> None:
    assert part(tmp_path, papered, []) == (6, 2)


def test_acts_raise_the_allowance_and_nothing_else(tmp_path: Path, papered: Papered) -> None:
    papers = [papered.act("ada", "ben", units=3), papered.act("ada", "ben", units=4, nonce="cd" * 32)]
    assert part(tmp_path, papered, papers) == (6, 9)


def test_what_is_given_back_is_gone(tmp_path: Path, papered: Papered) -> None:
    rest = returned(papered.made, pins=2, completions=1, quantity=4, allowance=1)
    assert part(tmp_path, papered, [rest]) == (2, 1)


def test_never_less_than_nothing(tmp_path: Path, papered: Papered) -> None:
    assert part(tmp_path, papered, [returned(papered.made, quantity=60, allowance=20)]) == (0, 0)


def test_papers_of_other_orders_and_of_none_change_nothing(tmp_path: Path, papered: Papered) -> None:
    lift = papered.act("ada", "ben", kind="lift-stop", stop=1, order_id="", order_sha256="", units=0)
    papers = [balance(papered.made), papered.lease(), lift, papered.act("ada", "ben", order_id="order-8", units=5),
              returned(papered.made, order_id="order-8", quantity=3)]  # fmt: skip
    assert part(tmp_path, papered, papers) == (6, 2)
