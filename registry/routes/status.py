"""What the registry says of itself. Never a secret, never anything of a device."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from registry.access.caller import PUBLIC
from registry.device_service.relay.client import NONE
from registry.messages import StatusAnswer
from registry.routes.route import Asked, Route, answered
from registry.services import Services


def get_status(services: Services, _asked: Asked) -> Response:
    """Which registry this is, of which environment and root, and whether it can sign receipts and meet units now."""
    trouble = "" if services.signing is None else services.signing.trouble()
    device_service = NONE if services.relay is None else services.relay.trouble()
    said = msgspec.structs.replace(services.status, trouble=trouble, device_service=device_service)
    return answered(200, msgspec.json.encode(said))


ROUTES = (Route(method="GET", path="/v1/status", work=get_status, access=PUBLIC, answer=StatusAnswer),)
