"""What may be asked about work orders: what is counted of one, and to raise a station's part by an approved act.

Whose objects: a station sees the orders that name it, and brings acts for its own signer. Never decides a number.
"""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from registry.access.caller import Role, Scope, StationCaller, either
from registry.errors import RefusedError
from registry.messages import RawEnvelope, read_envelope, read_request
from registry.orders.counts import Counted
from registry.routes.route import Asked, Route, answered
from registry.services import Services
from trust.codes import Code
from trust.order import WorkOrder


class RaiseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /v1/orders/{order_sha256}/raises: an act of kind raise-allowance with its approvals."""

    act: RawEnvelope


class OrderShare(msgspec.Struct, frozen=True, kw_only=True):
    """One station's part: what is pinned and completed, and may be; `scrapped` of those that were completed."""

    station: str
    pins: int
    pin_limit: int
    completions: int
    completion_limit: int
    scrapped: int


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry counts of an order. Stations that have pinned nothing under it yet are not listed."""

    order_id: str
    order_sha256: str
    stations: tuple[OrderShare, ...]


def get_order(services: Services, asked: Asked) -> Response:
    """What the registry counts of an order, by station."""
    order_sha256 = asked.path["order_sha256"]
    order = services.orders.find(order_sha256)
    if isinstance(asked.caller, StationCaller) and asked.caller.name not in order.stations:
        raise RefusedError(Code.NOT_AUTHORISED, f"the order does not name station {asked.caller.name}")
    return _answer(order, order_sha256, services.orders.counted(order_sha256))


def post_raise(services: Services, asked: Asked) -> Response:
    """Let a station make more pins of an order, by an act that officers have approved. Each act counts once."""
    envelope = read_envelope(read_request(asked.body, RaiseRequest).act, "act")
    act = services.orders.approved(envelope)
    if act.order_sha256 != asked.path["order_sha256"]:
        raise RefusedError(Code.STATEMENT_INVALID, "the path names another order than the act")
    if isinstance(asked.caller, StationCaller) and asked.caller.name != act.signer:
        raise RefusedError(Code.NOT_AUTHORISED, f"the act is for station {act.signer}'s signer")
    order = services.orders.find(act.order_sha256)
    return _answer(order, act.order_sha256, services.orders.raise_limit(act, envelope))


def _answer(order: WorkOrder, order_sha256: str, counted: tuple[Counted, ...]) -> Response:
    stations = tuple(OrderShare(**{name: getattr(each, name) for name in Counted.__slots__}) for each in counted)
    answer = OrderAnswer(order_id=order.order_id, order_sha256=order_sha256, stations=stations)
    return answered(200, msgspec.json.encode(answer))


ROUTES = (
    Route(
        method="GET", path="/v1/orders/{order_sha256}", work=get_order, access=either(Scope.PINS_READ, *Role),
        answer=OrderAnswer, refusals=(403, 404),
    ),
    Route(
        method="POST", path="/v1/orders/{order_sha256}/raises", work=post_raise,
        access=either(Scope.PINS_WRITE, Role.LEAD, Role.ENGINEER), body=RaiseRequest, answer=OrderAnswer,
        refusals=(400, 403, 404, 413),
    ),
)  # fmt: skip
