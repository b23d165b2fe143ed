"""Work orders for tests: right as made, with keys made on the spot; `changed` keeps allotments and numbers together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tests.trust.documents import ec_key, spki
from trust.order import Allotment, Firmware, WorkOrder

BEGINS, ENDS = "2020-01-01T00:00:00Z", "2099-12-31T23:59:59Z"


def shared(stations: Iterable[str], quantity: int, allowance: int) -> dict[str, Allotment]:
    """An order's numbers shared out among its stations, what is odd to the first."""
    names = tuple(stations)
    parts = {name: [quantity // len(names), allowance // len(names)] for name in names}
    parts[names[0]] = [
        quantity - sum(q for q, _ in list(parts.values())[1:]),
        allowance - sum(a for _, a in list(parts.values())[1:]),
    ]
    return {name: Allotment(quantity=q, allowance=a) for name, (q, a) in parts.items()}


def make(root_sha256: str, stations: Iterable[str], firmware: str, /, **changes: Any) -> WorkOrder:
    """An order that holds for these stations and this image."""
    order = WorkOrder(
        environment="demo", root_sha256=root_sha256, order_id="order-1", product="lamp", product_id=7, family="smp",
        key_type="ec-p256", origins=("generated",), quantity=1000, allowance=10, not_before=BEGINS, not_after=ENDS,
        stations=shared(stations, 1000, 10), cloud_key=spki(ec_key()), authority_key=spki(ec_key()), service="udp",
        host="cloud.example", port=5684, firmware=(Firmware(sha256=firmware),), handshakes=(),
    )  # fmt: skip
    if "handshakes" not in changes and changes.get("environment", "demo") != "demo":
        changes["handshakes"] = (changes.get("service", order.service),)  # nowhere else may it be left out
    return changed(order, **changes)


def changed(order: WorkOrder, **changes: Any) -> WorkOrder:
    """The order with other fields; `stations` may be names, which share quantity and allowance."""
    names = changes.pop("stations", None)
    if isinstance(names, dict):
        return msgspec.structs.replace(order, stations=names, **changes)
    made = msgspec.structs.replace(order, **changes)
    if names is None and not changes.keys() & {"quantity", "allowance"}:
        return made
    parts = shared(order.stations if names is None else names, made.quantity, made.allowance)
    return msgspec.structs.replace(made, stations=parts)
