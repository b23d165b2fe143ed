"""The Particle-compatible door's operations: a key is proposed, a token given back. There only where it is opened.

A key that comes in here is listed for people and pins nothing. Answers and refuses in the words of Particle's clients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from registry.access.caller import Role, Scope, people
from registry.errors import RefusedError
from registry.particle.bodies import Proposed, read_device, read_proposed
from registry.particle.grants import DoorTokenRefusal
from registry.particle.proposing import DoorProposals, Proposal
from registry.particle.words import (
    DENIED,
    LoggedOutAnswer,
    ParticleError,
    ParticleRefusal,
    ProvisionedAnswer,
    ProvisionedKey,
    ProvisioningAnswer,
    State,
)
from registry.people.roles import PROPOSERS
from registry.routes import oauth
from registry.routes.route import Asked, Route, answered
from registry.routes.sessions import person, shown_token
from registry.services import Services
from trust.codes import Code

_PINNED, _PROPOSED = 200, 202
_DONE = {
    "proposed": "proposed, not pinned: the device must show that it holds this key, and an act that two people have "
    "approved must name it",
    "pinned": "this key is the one that is pinned: nothing was proposed",
}
Text = Annotated[str, msgspec.Meta(max_length=8192)]
_Unset = msgspec.UnsetType


class ProvisioningRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of POST /v1/provisioning/{device_id}, as Particle's clients send it; `publicKey` is SPKI in PEM."""

    publicKey: Text  # noqa: N815 - their spelling
    deviceID: str | _Unset = msgspec.UNSET  # noqa: N815
    algorithm: Literal["rsa", "ecc"] | _Unset = msgspec.UNSET
    order: Text | _Unset = msgspec.UNSET
    filename: Text | _Unset = msgspec.UNSET
    product_id: str | int | _Unset = msgspec.UNSET


class DoorTokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """Form of POST /oauth/token, as stations and Particle's clients send it: each grant has its own fields."""

    grant_type: str
    client_assertion_type: str | _Unset = msgspec.UNSET
    client_assertion: str | _Unset = msgspec.UNSET
    scope: str | _Unset = msgspec.UNSET
    client_id: str | _Unset = msgspec.UNSET
    client_secret: str | _Unset = msgspec.UNSET
    username: str | _Unset = msgspec.UNSET
    password: str | _Unset = msgspec.UNSET
    mfa_token: str | _Unset = msgspec.UNSET
    otp: str | _Unset = msgspec.UNSET
    expires_in: str | _Unset = msgspec.UNSET


class DoorTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh access token: of a station, or of this door."""

    access_token: str
    token_type: Literal["DPoP", "bearer"]
    expires_in: int
    scope: str


def post_provisioning(services: Services, asked: Asked) -> Response:
    """Propose a key for a device: 202, or 200 if this very key is pinned. Pins nothing, replaces nothing."""
    try:
        proposed = read_proposed(asked.path["device_id"], asked.content_type, asked.body)
        return _said(proposed, _kept(services).propose(_proposal(proposed, asked)))
    except ParticleError as error:
        return _refused(error)
    except RefusedError as error:
        return _refused(_denied(error))


def get_provisioning(services: Services, asked: Asked) -> Response:
    """Which key of a device is pinned, and which ones were proposed. Particle's own cloud cannot be asked this."""
    try:
        device = read_device(asked.path["device_id"])
        found = _kept(services).about(device)
    except ParticleError as error:
        return _refused(error)
    except RefusedError as error:
        return _refused(_denied(error))
    keys = tuple(ProvisionedKey(fingerprint=each.fingerprint, state=each.state) for each in found)
    return answered(_PINNED, msgspec.json.encode(ProvisionedAnswer(id=str(device), keys=keys)))


def delete_current(services: Services, asked: Asked) -> Response:
    """Log out: the token that comes with this request is good for nothing any more."""
    services.people.tokens.end(shown_token(asked))
    return answered(_PINNED, msgspec.json.encode(LoggedOutAnswer()))


def _kept(services: Services) -> DoorProposals:
    assert services.particle is not None, "these routes are there only where the door is open"  # noqa: S101
    return services.particle


def _denied(error: RefusedError) -> ParticleError:
    """403, not 409, for a device that is nobody's to change: without a pin here, or scrapped."""
    if error.code not in {Code.NOT_PINNED, Code.DEVICE_SCRAPPED}:
        raise error
    return ParticleError(403, DENIED, error.code, str(error))


def _refused(error: ParticleError) -> Response:
    return answered(error.status, msgspec.json.encode(error.refusal))


def _proposal(proposed: Proposed, asked: Asked) -> Proposal:
    return Proposal(device=proposed.device, key=proposed.key, by=person(asked), note=proposed.note)


def _said(proposed: Proposed, state: State) -> Response:
    answer = ProvisioningAnswer(
        id=str(proposed.device), state=state, fingerprint=proposed.key.fingerprint, message=_DONE[state]
    )
    return answered(_PINNED if state == "pinned" else _PROPOSED, msgspec.json.encode(answer))


ROUTES = (
    Route(
        method="POST", path="/v1/provisioning/{device_id}", work=post_provisioning,
        access=people(*PROPOSERS, scope=Scope.KEYS_PROPOSE), body=ProvisioningRequest, or_form=True,
        answer=ProvisioningAnswer, statuses=(_PINNED, _PROPOSED), refusals=(400, 404, 409, 413, 422),
        refused=ParticleRefusal,
    ),
    Route(
        method="GET", path="/v1/provisioning/{device_id}", work=get_provisioning,
        access=people(*PROPOSERS, scope=Scope.KEYS_PROPOSE), answer=ProvisionedAnswer, refused=ParticleRefusal,
    ),
    Route(
        method="DELETE", path="/v1/access_tokens/current", work=delete_current,
        access=people(*Role, scope=Scope.KEYS_PROPOSE), answer=LoggedOutAnswer, refused=ParticleRefusal,
    ),
)  # fmt: skip


def with_particle(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The registry's routes with this door's, and the token endpoint as it is then."""
    token = replace(
        oauth.ROUTES[0], body=DoorTokenForm, answer=DoorTokenAnswer, refusals=(400, 401, 403, 413),
        refused=DoorTokenRefusal,
    )  # fmt: skip
    return (*(token if each is oauth.ROUTES[0] else each for each in routes), *ROUTES)
