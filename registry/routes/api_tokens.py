"""API tokens of whoever asks: made with a fresh second factor, listed, withdrawn. Never anybody else's."""

from __future__ import annotations

from datetime import timedelta

from starlette.responses import Response

from registry.access.caller import Role, people
from registry.messages import read_request
from registry.routes.people_messages import (
    DoneAnswer,
    NewTokenAnswer,
    TokenRequest,
    TokensAnswer,
    listed,
    new_token,
    plain,
    secret,
)
from registry.routes.route import Asked, Route
from registry.routes.sessions import person
from registry.services import Services


def post_api_token(services: Services, asked: Asked) -> Response:
    """A scoped token that ends, for a program that acts as this user. It never has a second factor."""
    said, caller = read_request(asked.body, TokenRequest), person(asked)
    issued = services.people.tokens.issue(caller.user_id, said.name, frozenset(said.scopes), timedelta(days=said.days))
    return secret(new_token(issued))


def get_api_tokens(services: Services, asked: Asked) -> Response:
    """One's own API tokens that hold now, without the tokens themselves."""
    return plain(listed(services.people.tokens.of_user(person(asked).user_id)))


def delete_api_token(services: Services, asked: Asked) -> Response:
    """Withdraw one of one's own API tokens."""
    services.people.tokens.withdraw(person(asked).user_id, asked.path["token_sha256"])
    return plain(DoneAnswer())


ROUTES = (
    Route(
        method="POST", path="/v1/api-tokens", work=post_api_token, access=people(*Role, second_factor=True),
        body=TokenRequest, answer=NewTokenAnswer, refusals=(400, 404, 409, 413),
    ),
    Route(method="GET", path="/v1/api-tokens", work=get_api_tokens, access=people(*Role), answer=TokensAnswer),
    Route(
        method="DELETE", path="/v1/api-tokens/{token_sha256}", work=delete_api_token, access=people(*Role),
        answer=DoneAnswer, refusals=(404,),
    ),
)  # fmt: skip
