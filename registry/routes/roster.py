"""The roster, for stations: who may sign in there while the registry is away. Nobody else is given it."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from registry.access.caller import Scope, stations
from registry.routes.people_messages import RosterAnswer, secret
from registry.routes.route import Asked, Route
from registry.services import Services


def get_roster(services: Services, _asked: Asked) -> Response:
    """The newest roster, signed. The same one until somebody in it changes, or half of its time is over."""
    return secret(RosterAnswer(roster=msgspec.Raw(services.rosters.current().to_json())))


ROUTES = (
    Route(
        method="GET", path="/v1/roster", work=get_roster, access=stations(Scope.ROSTER_READ), answer=RosterAnswer,
        refusals=(409,),
    ),
)  # fmt: skip
