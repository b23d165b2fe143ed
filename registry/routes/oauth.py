"""The token endpoint: one address for every kind of grant, each in the table of `Services.grants`.

Answers and refuses in OAuth's own form, which is not the rest of the API's. Never decides who gets a token.
"""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from registry.access.caller import PUBLIC
from registry.access.denied import Headers
from registry.access.oauth import CONTENT_TYPE, PATH, OAuthError, OAuthRefusal, TokenAnswer, grant_of, read_form
from registry.limits.rates import RouteClass
from registry.routes.route import Asked, Route, answered
from registry.services import Services

_OK = 200


class TokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """Form of POST /oauth/token, as stations send it."""

    grant_type: str
    client_assertion_type: str
    client_assertion: str
    client_id: str | msgspec.UnsetType = msgspec.UNSET
    scope: str | msgspec.UnsetType = msgspec.UNSET


def post_token(services: Services, asked: Asked) -> Response:
    """A fresh access token for a client assertion (RFC 7523) and a DPoP proof (RFC 9449). Each is good once."""
    try:
        form = read_form(asked.content_type, asked.body)
        granted = grant_of(services.grants, form)(form, asked.heading)
    except OAuthError as error:
        return _said(error.status, error.refusal, error.headers)
    if services.limits is not None and isinstance(granted.answer, TokenAnswer):
        services.limits.admitted.remember(f"{granted.answer.token_type} {granted.answer.access_token}")
    return _said(_OK, granted.answer, granted.headers)


def signer_of(services: Services, asked: Asked) -> str:
    """The station whose signer made the client assertion; empty if it does not hold, or is none."""
    if services.signed_by is None:
        return ""
    try:
        return services.signed_by(read_form(asked.content_type, asked.body))
    except OAuthError:
        return ""


def _said(status: int, body: msgspec.Struct, headers: Headers) -> Response:
    response = answered(status, msgspec.json.encode(body))
    for name, value in (*headers, ("cache-control", "no-store")):
        response.headers.append(name, value)
    return response


ROUTES = (
    Route(
        method="POST", path=PATH, work=post_token, access=PUBLIC, body=TokenForm, content_type=CONTENT_TYPE,
        answer=TokenAnswer, refusals=(400, 413), refused=OAuthRefusal, rate=RouteClass.SECRET, signer=signer_of,
    ),
)  # fmt: skip
