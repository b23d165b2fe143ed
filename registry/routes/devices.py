"""What may be asked about a device's pins over time: what is proved of it, acts on it, proposals, revocations.

Who is signed in carries an act that others have signed, with a second factor just given, and alone can only propose.
Whose objects: a station sees and brings devices of the orders that name it. Never decides what an act does.
"""

from __future__ import annotations

import re
from functools import partial

import msgspec
from starlette.responses import Response

from hsm.signer import AuthorisationRequest
from registry.access.caller import PersonCaller, Role, Scope, StationCaller, either, people
from registry.access.denied import bearer_challenge, unknown
from registry.device_messages import (
    ActRequest,
    AuthorisationAnswer,
    AuthorisationBody,
    ChallengeAnswer,
    DeviceAnswer,
    ProposalAnswer,
    ProposalRequest,
    ProposalsAnswer,
    RepinRequest,
    RevocationsAnswer,
    ScrapRequest,
    challenge_answer,
    device_answer,
)
from registry.errors import RefusedError
from registry.messages import error_answer, raw, read_envelope, read_request
from registry.people.sessions import Presented
from registry.pins.acts import CodeOf, Shown, UseCode
from registry.pins.proposals import Proposal
from registry.pins.reading import Reading
from registry.routes.route import Asked, Route, Work, answered
from registry.services import Services
from trust.codes import Code
from trust.pin_act import PinActKind

_CARRIERS = (Role.LEAD, Role.ENGINEER)
_BROUGHT = either(Scope.PINS_WRITE, *_CARRIERS, second_factor=True)
"""Whoever brings something approved: a station, or a person who was at the keyboard just now."""
_FIRST = "first"
_HASH = re.compile(r"[0-9a-f]{64}")


def get_device(services: Services, asked: Asked) -> Response:
    """All that is held about a device: its keys and their states now, each act on them, and what proves it."""
    device = asked.device
    reading = services.acts.find(device)
    if reading is None:
        return answered(404, error_answer(Code.NOT_PINNED, f"device {device} has no pin"))
    _require_own(asked, reading)
    return answered(200, device_answer(reading))


def post_challenge(services: Services, asked: Asked) -> Response:
    """A challenge for the proof of a device's new key: good once, for an hour."""
    _known(services, asked)
    return answered(200, challenge_answer(*services.acts.challenge(asked.device)))


def post_repin(services: Services, asked: Asked) -> Response:
    """Pin a device's new key, as an approved act wants it. The act is done once."""
    request = read_request(asked.body, RepinRequest)
    act = read_envelope(request.act, "act")
    leave = request.authorisation
    shown = Shown(
        challenge=request.challenge, spki=request.spki, signatures=request.signatures,
        old_signatures=request.old_signatures,
        authorisation=None if leave is msgspec.UNSET else read_envelope(leave, "authorisation"),
    )  # fmt: skip
    _known(services, asked)
    return answered(200, device_answer(services.acts.repin(asked.device, act, shown)))


def post_authorisation(services: Services, asked: Asked) -> Response:
    """The authority's word to a locked device on a bench, for a step of an approved re-key that is due."""
    body = read_request(asked.body, AuthorisationBody)
    request = AuthorisationRequest(
        act=read_envelope(body.act, "act"), step=body.step, nonce=body.nonce, new_fingerprint=body.new_fingerprint
    )
    _known(services, asked)
    signed = services.acts.authorise(asked.device, request)
    return answered(200, msgspec.json.encode(AuthorisationAnswer(authorisation=raw(signed))))


def post_revoke(services: Services, asked: Asked) -> Response:
    """End a device's key, as an approved act wants it. The act is done once."""
    return _do(services, asked, "revoke")


def post_scrap(services: Services, asked: Asked) -> Response:
    """Burn a device's id, as an approved act wants it: of a unit that was never finished, on its approver's code.

    The act is done once.
    """
    request = read_request(asked.body, ScrapRequest)
    act, approver = read_envelope(request.act, "act"), request.approver
    _known(services, asked)
    code: CodeOf = _nobodys
    if approver is not msgspec.UNSET:
        shown = Presented(
            user_id=approver.user_id, password="", code=approver.code, device=approver.device, address=asked.address
        )
        code = partial(services.people.sessions.given, shown)
    return answered(200, device_answer(services.acts.do(asked.device, "scrap", act, code)))


def post_unscrap(services: Services, asked: Asked) -> Response:
    """Take the scrap of a finished device back, as an approved act wants it. The act is done once."""
    return _do(services, asked, "unscrap")


def post_proposal(services: Services, asked: Asked) -> Response:
    """Propose an act on a device to those who may approve one. Changes nothing."""
    request = read_request(asked.body, ProposalRequest)
    if not request.reason.isprintable():
        raise RefusedError(Code.MALFORMED, "reason: one line of plain text, please")
    assert isinstance(asked.caller, PersonCaller)  # noqa: S101 - by the route's access
    made = services.proposals.propose(
        asked.device, request.kind, request.reason, proposer=asked.caller.user_id, source="api", spki=request.spki
    )
    return answered(200, msgspec.json.encode(_proposal(made)))


def get_proposals(services: Services, asked: Asked) -> Response:
    """What was proposed about a device lately."""
    found = tuple(_proposal(each) for each in services.proposals.about(asked.device))
    return answered(200, msgspec.json.encode(ProposalsAnswer(proposals=found)))


def get_revocations(services: Services, asked: Asked) -> Response:
    """Revocations of the devices scrapped under an order, page by page: the first one is `first`."""
    order_sha256, page_name = asked.path["order_sha256"], asked.path["page"]
    if not _HASH.fullmatch(order_sha256) or not (page_name == _FIRST or _HASH.fullmatch(page_name)):
        raise RefusedError(Code.MALFORMED, "an order is named by 64 hex digits, a page by the answer before it")
    order, found, last = services.acts.scrapped_under(order_sha256, "" if page_name == _FIRST else page_name)
    if isinstance(asked.caller, StationCaller) and asked.caller.name not in order.stations:
        raise RefusedError(Code.NOT_AUTHORISED, f"the order does not name station {asked.caller.name}")
    page = RevocationsAnswer(revocations=tuple(raw(each) for each in found), next=last)
    return answered(200, msgspec.json.encode(page))


def _do(services: Services, asked: Asked, kind: PinActKind) -> Response:
    act = read_envelope(read_request(asked.body, ActRequest).act, "act")
    _known(services, asked)
    return answered(200, device_answer(services.acts.do(asked.device, kind, act)))


def _nobodys(_keys: frozenset[str]) -> UseCode:
    challenge = bearer_challenge("insufficient_user_authentication")  # RFC 9470 §3
    text = "a unit that was never finished is scrapped on the one-time code of the approver who signed the act"
    raise unknown(Code.SECOND_FACTOR_NEEDED, f"{text}: send it as `approver`", [challenge])


def _known(services: Services, asked: Asked) -> Reading:
    """The device, if it has a pin and the caller may have to do with it."""
    reading = services.acts.find(asked.device)
    if reading is None:
        raise RefusedError(Code.NOT_PINNED, f"device {asked.device} has no pin")
    _require_own(asked, reading)
    return reading


def _require_own(asked: Asked, reading: Reading) -> None:
    known = reading.papers
    if isinstance(asked.caller, StationCaller) and asked.caller.name not in {known.pin.station, *known.order.stations}:
        text = f"this device was pinned under an order that does not name station {asked.caller.name}"
        raise RefusedError(Code.DEVICE_OF_OTHERS, text)


def _proposal(made: Proposal) -> ProposalAnswer:
    return ProposalAnswer(
        proposal=made.proposal, device_id=made.device_id, kind=made.kind, reason=made.reason, proposer=made.proposer,
        source=made.source, fingerprint=None if made.key is None else made.key.fingerprint,
        proposed_at=made.proposed_at, proved_at=made.proved_at,
    )  # fmt: skip


def _acts(path: str, work: Work, body: type[msgspec.Struct], *, stations: bool) -> Route:
    access = _BROUGHT if stations else people(*_CARRIERS, second_factor=True)
    return Route(
        method="POST", path=f"/v1/devices/{{device_id}}/{path}", work=work, access=access, body=body,
        answer=DeviceAnswer, refusals=(400, 403, 409, 413),
    )  # fmt: skip


ROUTES = (
    Route(
        method="GET", path="/v1/devices/{device_id}", work=get_device, access=either(Scope.PINS_READ, *Role),
        answer=DeviceAnswer, refusals=(400, 403, 404),
    ),
    Route(
        method="POST", path="/v1/devices/{device_id}/challenge", work=post_challenge,
        access=_BROUGHT, answer=ChallengeAnswer, refusals=(400, 403, 409, 413),
    ),
    Route(
        method="POST", path="/v1/devices/{device_id}/authorisations", work=post_authorisation,
        access=_BROUGHT, body=AuthorisationBody, answer=AuthorisationAnswer,
        refusals=(400, 403, 409, 413),
    ),
    _acts("repin", post_repin, RepinRequest, stations=True),
    _acts("scrap", post_scrap, ScrapRequest, stations=True),
    _acts("revoke", post_revoke, ActRequest, stations=False),
    _acts("unscrap", post_unscrap, ActRequest, stations=False),
    Route(
        method="POST", path="/v1/devices/{device_id}/proposals", work=post_proposal,
        access=people(*_CARRIERS, Role.SUPPORT), body=ProposalRequest, answer=ProposalAnswer,
        refusals=(400, 403, 413, 429),
    ),
    Route(
        method="GET", path="/v1/devices/{device_id}/proposals", work=get_proposals,
        access=people(*_CARRIERS, Role.SUPPORT, Role.AUDITOR), answer=ProposalsAnswer, refusals=(400, 403),
    ),
    Route(
        method="GET", path="/v1/orders/{order_sha256}/revocations/{page}", work=get_revocations,
        access=either(Scope.PINS_READ, *_CARRIERS, Role.AUDITOR), answer=RevocationsAnswer, refusals=(400, 403, 404),
    ),
)  # fmt: skip
