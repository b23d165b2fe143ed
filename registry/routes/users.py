"""Users, for administrators: each act with a second factor just given. An auditor may look."""

from __future__ import annotations

from starlette.responses import Response

from registry.access.caller import Role, people
from registry.messages import read_request
from registry.routes.people_messages import (
    BadgeRequest,
    MadeAnswer,
    RoleRequest,
    UserEntry,
    UsersAnswer,
    entry,
    made,
    plain,
    secret,
    users,
)
from registry.routes.route import Asked, Route
from registry.routes.sessions import person
from registry.services import Services


def get_users(services: Services, _asked: Asked) -> Response:
    """All users as they are now."""
    return plain(users(services.people.accounts.all()))


def get_user(services: Services, asked: Asked) -> Response:
    """What became of a user, oldest first."""
    return plain(users(services.people.accounts.history(asked.path["user_id"])))


def post_user(services: Services, asked: Asked) -> Response:
    """A new user: a random id, a first password and a secret for one-time codes, shown this once."""
    said = read_request(asked.body, RoleRequest)
    return secret(made(services.people.accounts.add(said.role, person(asked).user_id)))


def put_role(services: Services, asked: Asked) -> Response:
    """Another role. Ends the user's sessions and API tokens."""
    said = read_request(asked.body, RoleRequest)
    return plain(entry(services.people.accounts.set_role(_whom(asked), said.role, by=person(asked).user_id)))


def put_badge(services: Services, asked: Asked) -> Response:
    """The badge that signs in at stations, or none."""
    said = read_request(asked.body, BadgeRequest)
    return plain(entry(services.people.accounts.set_badge(_whom(asked), said.badge, by=person(asked).user_id)))


def post_disable(services: Services, asked: Asked) -> Response:
    """The user signs in no more. Ends its sessions and API tokens."""
    return plain(entry(services.people.accounts.disable(_whom(asked), by=person(asked).user_id)))


def post_enable(services: Services, asked: Asked) -> Response:
    """The user signs in again, also if tries had locked it."""
    return plain(entry(services.people.accounts.enable(_whom(asked), by=person(asked).user_id)))


def post_reset(services: Services, asked: Asked) -> Response:
    """A new password and a new secret for who has lost them, shown this once. Ends sessions and API tokens."""
    return secret(made(services.people.accounts.reset(_whom(asked), by=person(asked).user_id)))


def _whom(asked: Asked) -> str:
    return asked.path["user_id"]


_LOOKS = people(Role.ADMINISTRATOR, Role.AUDITOR)
_ACTS = people(Role.ADMINISTRATOR, second_factor=True)
_REFUSALS = (400, 404, 409, 413)
ROUTES = (
    Route(method="GET", path="/v1/users", work=get_users, access=_LOOKS, answer=UsersAnswer),
    Route(
        method="POST", path="/v1/users", work=post_user, access=_ACTS, body=RoleRequest, answer=MadeAnswer,
        refusals=(400, 409, 413),
    ),
    Route(
        method="GET", path="/v1/users/{user_id}", work=get_user, access=_LOOKS, answer=UsersAnswer, refusals=(404,)
    ),
    Route(
        method="PUT", path="/v1/users/{user_id}/role", work=put_role, access=_ACTS, body=RoleRequest,
        answer=UserEntry, refusals=_REFUSALS,
    ),
    Route(
        method="PUT", path="/v1/users/{user_id}/badge", work=put_badge, access=_ACTS, body=BadgeRequest,
        answer=UserEntry, refusals=_REFUSALS,
    ),
    Route(
        method="POST", path="/v1/users/{user_id}/disable", work=post_disable, access=_ACTS, answer=UserEntry,
        refusals=(404, 409),
    ),
    Route(
        method="POST", path="/v1/users/{user_id}/enable", work=post_enable, access=_ACTS, answer=UserEntry,
        refusals=(404, 409),
    ),
    Route(
        method="POST", path="/v1/users/{user_id}/reset", work=post_reset, access=_ACTS, answer=MadeAnswer,
        refusals=(404, 409),
    ),
)  # fmt: skip
