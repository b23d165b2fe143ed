"""What may be asked about leases: the next one for a station's signer. Never decides whether it is granted."""

from __future__ import annotations

from starlette.responses import Response

from registry.access.caller import Scope, stations
from registry.access.own import require_own
from registry.messages import LeaseAnswer, LeaseDemand, lease_answer, read_envelope, read_request
from registry.routes.route import Asked, Route, answered
from registry.services import Services
from trust.lease import LeaseRequest


def post_lease(services: Services, asked: Asked) -> Response:
    """Grant a station's signer its next lease. The same request again gives the same lease."""
    request = read_envelope(read_request(asked.body, LeaseDemand).request, "request")
    require_own(asked.caller, request, LeaseRequest)
    return answered(200, lease_answer(services.leases.grant(request)))


ROUTES = (
    Route(
        method="POST", path="/v1/leases", work=post_lease, access=stations(Scope.LEASES_WRITE),
        body=LeaseDemand, answer=LeaseAnswer, refusals=(400, 403, 409, 413),
    ),
)  # fmt: skip
