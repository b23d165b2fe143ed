"""What the registry says of itself. Never a secret, never anything of a device."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from registry.access.caller import PUBLIC
from registry.messages import StatusAnswer
from registry.routes.route import Asked, Route, answered
from registry.services import Services


def get_status(services: Services, _asked: Asked) -> Response:
    """Which registry this is, of which environment and trust root, and whether it can sign receipts now."""
    trouble = "" if services.signing is None else services.signing.trouble()
    return answered(200, msgspec.json.encode(msgspec.structs.replace(services.status, trouble=trouble)))


ROUTES = (Route(method="GET", path="/v1/status", work=get_status, access=PUBLIC, answer=StatusAnswer),)
