"""What may be asked about a unit's handshake with the device service: to begin one, and to carry what is sent in it.

Whose objects: a station relays for pins of orders that name it, and steps the handshakes that it began; the device
service finds out which those are. Never looks into what is carried.
"""

from __future__ import annotations

import logging
import math
from typing import Annotated

import msgspec
from starlette.responses import Response

from registry.access.caller import Scope, StationCaller, stations
from registry.device_service.relay.client import NONE, AwayError, NoAnswerError
from registry.device_service.relay.messages import Items, Open, Progress, Protocol, Refusal, Request, State, Step
from registry.errors import RefusedError
from registry.limits.rates import RouteClass
from registry.limits.requests import too_many
from registry.messages import RawEnvelope, error_answer, raw, read_request
from registry.routes.route import Asked, Route, answered
from registry.services import Services
from registry.statuses import status_of
from trust.codes import Code
from trust.statement import DeviceHex, JobHex

_log = logging.getLogger(__name__)
_HEX32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_CREATED, _TOO_MANY, _UNAVAILABLE = 201, 429, 503


class HandshakeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/handshakes: the device's pin by its job, which service its order names, what it sent first."""

    device_id: DeviceHex
    job: JobHex
    protocol: Protocol
    received: Items = ()


class HandshakeStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/handshakes/{handshake}: what the device has sent since, in its order; `ended`: no more comes."""

    received: Items
    ended: bool


class HandshakeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, and what the device has to get, in this order; `report` comes with `done`."""

    handshake: str
    state: State
    send: tuple[bytes, ...]
    report: RawEnvelope | None


def post_handshake(services: Services, asked: Asked) -> Response:
    """Begin a handshake of a pinned device with the cloud's device service, to be carried step by step."""
    request = read_request(asked.body, HandshakeRequest)
    station = _station(asked)
    wait_s = 0.0 if services.limits is None else services.limits.device(station, request.device_id)
    if wait_s > 0:
        return too_many(wait_s)
    opening = Open(
        station=station, device_id=request.device_id, job=request.job, protocol=request.protocol,
        received=request.received,
    )  # fmt: skip
    return _answer(services, opening, _CREATED)


def post_handshake_step(services: Services, asked: Asked) -> Response:
    """Hand on what the device has sent, and get what is for it. Waits while the service works, 5 s at most."""
    request = read_request(asked.body, HandshakeStep)
    name = asked.path["handshake"]
    if not _is_hex32(name):
        raise RefusedError(Code.HANDSHAKE_UNKNOWN, "a handshake is named by 32 hexadecimal digits, as it was answered")
    step = Step(station=_station(asked), handshake=name, received=request.received, ended=request.ended)
    return _answer(services, step, 200)


def _station(asked: Asked) -> str:
    assert isinstance(asked.caller, StationCaller)  # noqa: S101 - of a route for stations alone
    return asked.caller.name


def _is_hex32(name: str) -> bool:
    try:
        msgspec.convert(name, _HEX32)
    except msgspec.ValidationError:
        return False
    return True


def _answer(services: Services, request: Request, status: int) -> Response:
    if services.relay is None:
        return _trouble(Code.DEVICE_SERVICE_AWAY, NONE)
    try:
        said = services.relay.ask(request)
    except AwayError as error:
        _log.warning("there is no device service", exc_info=error)
        return _trouble(Code.DEVICE_SERVICE_AWAY, "there is no device service: send this again later")
    except NoAnswerError as error:
        _log.warning("the device service did not answer in time", exc_info=error)
        return _trouble(Code.DEVICE_SERVICE_UNABLE, "the device service does not answer in time: send this again later")
    if isinstance(said, Progress):
        answer = HandshakeAnswer(
            handshake=said.handshake, state=said.state, send=said.send,
            report=None if said.report is None else raw(said.report),
        )  # fmt: skip
        return answered(status, msgspec.json.encode(answer))
    return _refused(said)


def _refused(said: Refusal) -> Response:
    response = answered(status_of(said.code), error_answer(said.code, said.message))
    if said.code is Code.NOT_AUTHORISED:
        text = "the device service does not know this registry: see its relay_uids"
        return _trouble(Code.DEVICE_SERVICE_UNABLE, text)
    if said.after_s and response.status_code in {_TOO_MANY, _UNAVAILABLE}:
        response.headers["retry-after"] = str(max(1, math.ceil(said.after_s)))
    return response


def _trouble(code: Code, text: str) -> Response:
    return answered(_UNAVAILABLE, error_answer(code, text))


ROUTES = (
    Route(
        method="POST", path="/v1/handshakes", work=post_handshake, access=stations(Scope.PINS_WRITE),
        body=HandshakeRequest, answer=HandshakeAnswer, statuses=(_CREATED,), refusals=(400, 409, 413),
        rate=RouteClass.RELAY,
    ),
    Route(
        method="POST", path="/v1/handshakes/{handshake}", work=post_handshake_step, access=stations(Scope.PINS_WRITE),
        body=HandshakeStep, answer=HandshakeAnswer, refusals=(400, 404, 413), rate=RouteClass.RELAY,
    ),
)  # fmt: skip
