"""How the registry is, for balancers and for those who start and stop processes. Never anything of a device."""

from __future__ import annotations

from starlette.responses import Response

from registry.access.caller import PUBLIC
from registry.messages import HealthAnswer
from registry.routes.route import Asked, Route
from registry.services import Services
from registry.telemetry import door


def get_live(_services: Services, _asked: Asked) -> Response:
    """Whether the process answers. Asks nobody else."""
    return door.live()


def get_ready(services: Services, _asked: Asked) -> Response:
    """Whether a pin could be taken a moment ago: the database takes a write of this version, the signer can sign."""
    return door.ready(services.health)


ROUTES = (
    Route(method="GET", path="/livez", work=get_live, access=PUBLIC, answer=HealthAnswer, at_once=True),
    Route(method="GET", path="/readyz", work=get_ready, access=PUBLIC, answer=HealthAnswer, at_once=True),
)
