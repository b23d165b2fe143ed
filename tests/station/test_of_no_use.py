"""More pin statements for an order whose good units are all complete: done as approved, and said to be of no use."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from station.ordering import of_no_use
from trust.account import OrderCount
from trust.act import Act
from trust.statement import envelope


def count(completions: int) -> OrderCount:
    return OrderCount(
        order_id="lamps", order_sha256="ab" * 32, pins=5, pin_limit=6, completions=completions, completion_limit=5,
        scrapped=0, raised=0, returned=False,
    )  # fmt: skip


def said(act: dict[str, Any], completions: int) -> str:
    class Signer:
        async def status(self) -> Any:
            return SimpleNamespace(orders=(count(completions),))

    body = Act(
        environment="demo", root_sha256="ab" * 32, signer="st-01", reason="for a test", nonce="cd" * 32,
        made_at="2026-01-01T00:00:00Z", not_after="2026-01-02T00:00:00Z", **act,
    )  # fmt: skip
    return asyncio.run(of_no_use(SimpleNamespace(signer=Signer()), envelope(body)))


RAISE = {"kind": "raise-allowance", "order_id": "lamps", "order_sha256": "ab" * 32, "units": 3}


@pytest.mark.parametrize(
    ("act", "completions", "told"),
    [
        (RAISE, 5, "it is of no use: of order lamps 5 of 5 units are complete; more pin statements make no more good units"),
        (RAISE, 4, ""),
        (RAISE | {"order_id": "others"}, 5, ""),
        ({"kind": "lift-stop", "stop": 1}, 5, ""),
    ],
)  # fmt: skip
def test_what_more_pin_statements_are_good_for(act: dict[str, Any], completions: int, told: str) -> None:
    assert said(act, completions) == told
