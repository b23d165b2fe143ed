"""Opaque tokens of people: sessions and API tokens, 256 random bits, of which the database has the hash alone.

A token ends by its time, by being withdrawn, or by any act on its user but a new badge: whoever is disabled, gets
another role or another password holds nothing any more. Never looks at a password.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select

from registry.access.caller import PersonCaller, Role, Scope
from registry.clock import stamp, utc_now
from registry.database import Database, assure
from registry.errors import RefusedError
from registry.people import store
from registry.people.roles import GRANTS
from registry.people.store import State
from registry.tables import ended_tokens, person_tokens, user_states
from trust.codes import Code

SESSION: Final = timedelta(hours=12)  # a long shift
FRESH: Final = timedelta(minutes=5)  # how long a second factor counts as just given
LONGEST: Final = timedelta(days=90)
MOST: Final = 20  # API tokens of one user at a time
_BYTES: Final = 32
_NEVER: Final = ""  # an API token never had a second factor
Kind = Literal["session", "api"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token, shown once, and until when it holds (RFC 3339)."""

    token: str = field(repr=False)
    user_id: str
    role: Role
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """An API token as its holder sees it later: its name, and the SHA-256 by which it is withdrawn."""

    token_sha256: str
    name: str
    scopes: tuple[str, ...]
    made_at: str
    expires_at: str


class Tokens:
    """`registry.access.guard.PeopleTokens` over the database. Safe to call from many threads and processes."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now

    def caller(self, token: str) -> PersonCaller | None:
        """Whose token it is, and what it is good for; None if it is nobody's, over, or withdrawn."""
        now = self._now()
        holds = (person_tokens.c.token_sha256 == hashed(token), *_holding(now))
        with self._database.read() as connection:
            row = connection.execute(_with_state().where(*holds)).one_or_none()
        if row is None or not row.enabled:
            return None
        return PersonCaller(
            user_id=row.user_id,
            role=Role(row.role),
            second_factor=row.second_factor_at >= stamp(now - FRESH),
            scopes=None if row.kind == "session" else _scopes(row),
        )

    def open_session(self, connection: Connection, state: State) -> Issued:
        """A session, its second factor given just now. Inside the transaction that has used the code up."""
        return self._issue(connection, state, "session", lifetime=SESSION, second_factor_at=stamp(self._now()))

    def issue(self, user_id: str, name: str, scopes: frozenset[Scope], lifetime: timedelta) -> Issued:
        """An API token. SCOPE_MISSING for what the role may not give, USER_UNKNOWN, USER_CONFLICT for one too many."""
        with self._database.write() as connection:
            state = store.state(connection, user_id)
            if state is None or not state.enabled:
                raise RefusedError(Code.USER_UNKNOWN, f"no user {user_id} who may sign in")
            return self.issue_in(connection, state, name, scopes, lifetime)

    def issue_in(
        self, connection: Connection, state: State, name: str, scopes: frozenset[Scope], lifetime: timedelta
    ) -> Issued:
        """As `issue`, inside a transaction that has seen who the user is now."""
        if not scopes or not scopes <= GRANTS[state.role]:
            may = ", ".join(sorted(GRANTS[state.role]))
            raise RefusedError(Code.SCOPE_MISSING, f"a token of role {state.role} has one or more of: {may}")
        if not timedelta() < lifetime <= LONGEST:
            raise RefusedError(Code.MALFORMED, f"a token holds for at most {LONGEST.days} days")
        if self._count(connection, state.user_id) >= MOST:
            raise RefusedError(Code.USER_CONFLICT, f"{state.user_id} has {MOST} API tokens: withdraw one first")
        return self._issue(connection, state, "api", name=name, scopes=scopes, lifetime=lifetime)

    def of_user(self, user_id: str) -> list[ApiToken]:
        """A user's API tokens that hold now, oldest first."""
        mine = (person_tokens.c.user_id == user_id, person_tokens.c.kind == "api", *_holding(self._now()))
        with self._database.read() as connection:
            rows = connection.execute(_with_state().where(*mine).order_by(person_tokens.c.made_at)).all()
        return [
            ApiToken(
                token_sha256=row.token_sha256, name=row.name, scopes=tuple(row.scopes.split()), made_at=row.made_at,
                expires_at=row.expires_at,
            )
            for row in rows
        ]  # fmt: skip

    def end(self, token: str) -> None:
        """Withdraw the very token that was shown; again changes nothing."""
        with self._database.write() as connection:
            self._end(connection, [hashed(token)])

    def withdraw(self, user_id: str, token_sha256: str) -> None:
        """Withdraw a user's API token; TOKEN_UNKNOWN if it has no such."""
        mine = (person_tokens.c.user_id == user_id, person_tokens.c.kind == "api")
        named = token_sha256 if token_sha256.isascii() and token_sha256.isalnum() else ""
        with self._database.write() as connection:
            found = connection.scalars(
                select(person_tokens.c.token_sha256).where(person_tokens.c.token_sha256 == named, *mine)
            ).all()
            if not found:
                raise RefusedError(
                    Code.TOKEN_UNKNOWN, "no such API token of this user: the list of them has its SHA-256"
                )
            self._end(connection, found)

    def _end(self, connection: Connection, tokens: Iterable[str]) -> None:
        for each in tokens:
            there = connection.execute(select(ended_tokens).where(ended_tokens.c.token_sha256 == each)).one_or_none()
            if there is None:
                connection.execute(insert(ended_tokens), {"token_sha256": each, "at": stamp(self._now())})
            else:
                assure(connection)

    def _count(self, connection: Connection, user_id: str) -> int:
        mine = (person_tokens.c.user_id == user_id, person_tokens.c.kind == "api", *_holding(self._now()))
        return connection.execute(select(func.count()).select_from(person_tokens).where(*mine)).scalar_one()

    def _issue(
        self,
        connection: Connection,
        state: State,
        kind: Kind,
        *,
        lifetime: timedelta,
        name: str = "",
        scopes: frozenset[Scope] = frozenset(),
        second_factor_at: str = _NEVER,
    ) -> Issued:
        token, now = secrets.token_urlsafe(_BYTES), self._now()
        expires_at = stamp(now + lifetime)
        row = {
            "token_sha256": hashed(token), "user_id": state.user_id, "state_number": state.number, "kind": kind,
            "name": name, "scopes": " ".join(sorted(scopes)), "second_factor_at": second_factor_at,
            "made_at": stamp(now), "expires_at": expires_at,
        }  # fmt: skip
        connection.execute(insert(person_tokens), row)
        return Issued(token=token, user_id=state.user_id, role=state.role, expires_at=expires_at)


def hashed(token: str) -> str:
    """What the database has of a token: a plain hash, as 256 random bits need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def _with_state() -> Any:
    same = (user_states.c.user_id == person_tokens.c.user_id) & (user_states.c.number == person_tokens.c.state_number)
    return select(person_tokens, user_states.c.role, user_states.c.enabled).join(user_states, same)


def _holding(now: datetime) -> tuple[ColumnElement[bool], ...]:
    later = user_states.alias("later")
    changed = exists().where(
        later.c.user_id == person_tokens.c.user_id,
        later.c.number > person_tokens.c.state_number,
        later.c.what != "badge",
    )
    ended = exists().where(ended_tokens.c.token_sha256 == person_tokens.c.token_sha256)
    return person_tokens.c.expires_at > stamp(now), ~ended, ~changed


def _scopes(row: Row[Any]) -> frozenset[Scope]:
    """Those that a role still gives: what a scope was once good for, it need not be any more."""
    known = frozenset(Scope(each) for each in row.scopes.split() if each in set(Scope))
    return known & GRANTS[Role(row.role)]
