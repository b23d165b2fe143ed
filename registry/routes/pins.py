"""What may be asked about pins: to pin a device, to complete a pin, what is held. Never decides what is pinned."""

from __future__ import annotations

from starlette.responses import Response

from registry.access.caller import Role, Scope, either, stations
from registry.access.own import require_of_its_orders, require_own
from registry.messages import (
    CompletionRequest,
    HistoryAnswer,
    PinAnswer,
    PinRequest,
    error_answer,
    history_answer,
    pin_answer,
    read_envelope,
    read_request,
)
from registry.routes.route import Asked, Route, answered
from registry.services import Services
from trust.codes import Code
from trust.statement import Completion, PinStatement


def put_pin(services: Services, asked: Asked) -> Response:
    """Pin a device (provisional). The same statement again gives the same receipt."""
    device, request = asked.device, read_request(asked.body, PinRequest)
    statement, order = read_envelope(request.statement, "statement"), read_envelope(request.order, "order")
    require_own(asked.caller, statement, PinStatement)
    return answered(200, pin_answer(services.pins.pin(device, statement, order)))


def put_completion(services: Services, asked: Asked) -> Response:
    """Make a pin active. The same completion again gives the same receipt."""
    device, request = asked.device, read_request(asked.body, CompletionRequest)
    completion = read_envelope(request.completion, "completion")
    require_own(asked.caller, completion, Completion)
    return answered(200, pin_answer(services.pins.complete(device, completion)))


def get_pin(services: Services, asked: Asked) -> Response:
    """What the registry holds about a device, and how it came to be so."""
    device = asked.device
    reading = services.acts.find(device)
    if reading is None:
        return answered(404, error_answer(Code.NOT_PINNED, f"device {device} has no pin"))
    require_of_its_orders(asked.caller, reading.papers.statement, lambda: services.pins.order_of(device))
    return answered(200, history_answer(reading))


ROUTES = (
    Route(
        method="PUT", path="/v1/pins/{device_id}", work=put_pin, access=stations(Scope.PINS_WRITE),
        body=PinRequest, answer=PinAnswer, refusals=(400, 403, 409, 413, 422),
    ),
    Route(
        method="PUT", path="/v1/pins/{device_id}/completion", work=put_completion,
        access=stations(Scope.PINS_WRITE), body=CompletionRequest, answer=PinAnswer, refusals=(400, 403, 409, 413, 422),
    ),
    Route(
        method="GET", path="/v1/pins/{device_id}", work=get_pin, access=either(Scope.PINS_READ, *Role),
        answer=HistoryAnswer, refusals=(400, 404),
    ),
)  # fmt: skip
