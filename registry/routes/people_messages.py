"""Requests and answers about people as JSON. What holds a secret says so, and is never kept by anybody on the way."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from registry.access.caller import Role, Scope
from registry.messages import RawEnvelope
from registry.people.accounts import Made
from registry.people.sessions import Opened
from registry.people.store import State
from registry.people.tokens import ApiToken, Issued
from registry.routes.route import answered

Short = Annotated[str, msgspec.Meta(max_length=200)]
Long = Annotated[str, msgspec.Meta(max_length=1000)]
Label = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f]{1,60}\Z")]


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/sessions. `device` is what the last sign-in of this device was given, if any."""

    user_id: Short
    password: Long
    code: Short
    device: Short = ""


class CodeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/sessions/current/second-factor."""

    code: Short
    device: Short = ""


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A session, shown once: `Authorization: Bearer TOKEN`. `device` is for the next sign-in from this device."""

    token: str
    user_id: str
    role: Role
    expires_at: str
    device: str


class PasswordRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PUT /v1/me/password."""

    password: Long


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/api-tokens."""

    name: Label
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1, max_length=len(Scope))]
    days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30


class NewTokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An API token, shown once."""

    token: str
    user_id: str
    role: Role
    expires_at: str


class ApiTokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An API token as it is listed: what it is withdrawn by is its SHA-256."""

    token_sha256: str
    name: str
    scopes: tuple[str, ...]
    made_at: str
    expires_at: str


class TokensAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The API tokens that hold now, oldest first."""

    tokens: tuple[ApiTokenEntry, ...]


class DoneAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """It is so now."""

    done: bool = True


class RoleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of POST /v1/users and of PUT /v1/users/{user_id}/role."""

    role: Role


class BadgeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of PUT /v1/users/{user_id}/badge: what a reader says of it; null takes the badge away."""

    badge: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None


class UserEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a user is since an act. `by_whom` is a user's id, or `console`."""

    user_id: str
    number: int
    what: str
    role: Role
    enabled: bool
    by_whom: str
    at: str


class UsersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All users as they are now, or what became of one, oldest first."""

    users: tuple[UserEntry, ...]


class MadeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody signs in by from now on, shown once: `enrolment` is what an authenticator scans."""

    user_id: str
    password: str
    enrolment: str


class RosterAnswer(msgspec.Struct, frozen=True):
    """Who may sign in at stations, signed."""

    roster: RawEnvelope


def secret(value: msgspec.Struct) -> Response:
    """An answer with a secret in it: nobody on the way keeps it (RFC 9111 §5.2.2.5)."""
    response = plain(value)
    response.headers["cache-control"] = "no-store"
    return response


def plain(value: msgspec.Struct) -> Response:
    """An answer."""
    return answered(200, msgspec.json.encode(value))


def session(opened: Opened) -> SessionAnswer:
    """A session as it is told."""
    return SessionAnswer(**_issued(opened.session), device=opened.device)


def new_token(issued: Issued) -> NewTokenAnswer:
    """An API token as it is told."""
    return NewTokenAnswer(**_issued(issued))


def listed(tokens: list[ApiToken]) -> TokensAnswer:
    """API tokens as they are listed."""
    names = ApiTokenEntry.__struct_fields__
    return TokensAnswer(tokens=tuple(ApiTokenEntry(**{name: getattr(each, name) for name in names}) for each in tokens))


def entry(state: State) -> UserEntry:
    """A user as it is told."""
    return UserEntry(**{name: getattr(state, name) for name in UserEntry.__struct_fields__})


def users(states: list[State]) -> UsersAnswer:
    """Several."""
    return UsersAnswer(users=tuple(entry(each) for each in states))


def made(given: Made) -> MadeAnswer:
    """What was made, with its secrets."""
    return MadeAnswer(user_id=given.user_id, password=given.password, enrolment=given.enrolment)


def _issued(issued: Issued) -> dict[str, Any]:
    return {name: getattr(issued, name) for name in NewTokenAnswer.__struct_fields__}
