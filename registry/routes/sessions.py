"""Signing in and out: a session for id, password and one-time code, a fresh second factor, a password of one's own."""

from __future__ import annotations

from starlette.responses import Response

from registry.access.caller import PUBLIC, PersonCaller, Role, people
from registry.limits.rates import RouteClass
from registry.messages import read_request
from registry.people.sessions import Presented
from registry.routes.people_messages import (
    CodeRequest,
    DoneAnswer,
    PasswordRequest,
    SessionAnswer,
    SessionRequest,
    UserEntry,
    entry,
    plain,
    secret,
    session,
)
from registry.routes.route import Asked, Route
from registry.services import Services


def post_session(services: Services, asked: Asked) -> Response:
    """Sign in. The answer is the same whatever was wrong; 429 says that nothing was tried, and when to try again."""
    said = read_request(asked.body, SessionRequest)
    shown = Presented(
        user_id=said.user_id, password=said.password, code=said.code, device=said.device, address=asked.address
    )
    return secret(session(services.people.sessions.open(shown)))


def post_second_factor(services: Services, asked: Asked) -> Response:
    """A fresh second factor: another session for this one, which ends."""
    said = read_request(asked.body, CodeRequest)
    shown = Presented(
        user_id=person(asked).user_id, password="", code=said.code, device=said.device, address=asked.address
    )
    opened = services.people.sessions.open_by_code(shown)
    services.people.tokens.end(shown_token(asked))
    return secret(session(opened))


def delete_session(services: Services, asked: Asked) -> Response:
    """Sign out: this session is good for nothing any more. An API token is withdrawn by its holder's session."""
    services.people.tokens.end(shown_token(asked))
    return plain(DoneAnswer())


def put_password(services: Services, asked: Asked) -> Response:
    """A password of one's own. Ends all sessions and API tokens of the user, this one too."""
    said = read_request(asked.body, PasswordRequest)
    return plain(entry(services.people.accounts.set_password(person(asked).user_id, said.password)))


def person(asked: Asked) -> PersonCaller:
    """Who asks, on a route that is people's alone."""
    assert isinstance(asked.caller, PersonCaller), "the guard lets nobody else in"  # noqa: S101
    return asked.caller


def shown_token(asked: Asked) -> str:
    """What the caller has shown; the guard has found it good."""
    return asked.heading.authorization[0].partition(" ")[2]


ROUTES = (
    Route(
        method="POST", path="/v1/sessions", work=post_session, access=PUBLIC, body=SessionRequest,
        answer=SessionAnswer, refusals=(400, 401, 413), rate=RouteClass.SECRET,
    ),
    Route(
        method="POST", path="/v1/sessions/current/second-factor", work=post_second_factor, access=people(*Role),
        body=CodeRequest, answer=SessionAnswer, refusals=(400, 413), rate=RouteClass.SECRET,
    ),
    Route(
        method="DELETE", path="/v1/sessions/current", work=delete_session, access=people(*Role), answer=DoneAnswer,
    ),
    Route(
        method="PUT", path="/v1/me/password", work=put_password, access=people(*Role, second_factor=True),
        body=PasswordRequest, answer=UserEntry, refusals=(400, 404, 409, 413, 422), rate=RouteClass.SECRET,
    ),
)  # fmt: skip
