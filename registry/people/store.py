"""Users in SQL: rows of the tables of people, read and written inside the caller's transaction. Never decides."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, func, insert, select, update

from registry.access.caller import Role
from registry.people.roles import ON_THE_FLOOR
from registry.tables import badge_salts, credentials, user_states, users

_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a user is since an act: `number` counts a user's acts, `by_whom` is a user's id or `console`.

    `approver`: the fingerprint of the key that the user approves acts with; empty for none.
    """

    user_id: str
    number: int
    what: str
    role: Role
    enabled: bool
    by_whom: str
    at: str
    approver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a user signs in by. `last_step`: of the last one-time code that was accepted."""

    password: str = field(repr=False)
    floor_password: str = field(repr=False)
    totp_secret: str = field(repr=False)
    last_step: int = 0
    badge: str | None = field(default=None, repr=False)


def insert_user(connection: Connection, state: State, kept: Credentials) -> None:
    """A new user: id, first state, credentials."""
    connection.execute(insert(users), {"user_id": state.user_id, "made_at": state.at})
    insert_state(connection, state)
    row = {"user_id": state.user_id, "badge": kept.badge, "last_step": kept.last_step, **_secrets(kept)}
    connection.execute(insert(credentials), row)


def insert_state(connection: Connection, state: State) -> None:
    """What became of a user now."""
    row = {each: getattr(state, each) for each in ("user_id", "number", "what", "by_whom", "at", "approver")}
    connection.execute(insert(user_states), {**row, "role": state.role.value, "enabled": int(state.enabled)})


def is_id(text: str) -> bool:
    """Whether this may be a user's id. What is not is nobody's, and is never looked up: PostgreSQL takes no NUL."""
    return _ID.fullmatch(text) is not None


def state(connection: Connection, user_id: str) -> State | None:
    """What a user is now."""
    chosen = select(user_states).where(user_states.c.user_id == user_id).order_by(user_states.c.number.desc()).limit(1)
    row = connection.execute(chosen).one_or_none()
    return None if row is None else _state(row)


def history(connection: Connection, user_id: str) -> list[State]:
    """What became of a user, oldest first."""
    chosen = select(user_states).where(user_states.c.user_id == user_id).order_by(user_states.c.number)
    return [_state(row) for row in connection.execute(chosen)]


def everybody(connection: Connection) -> list[State]:
    """What all users are now, in the order of their ids."""
    return [_state(row) for row in connection.execute(_now().order_by(user_states.c.user_id))]


def on_the_floor(connection: Connection) -> int:
    """How many may sign in at stations."""
    return len(floor(connection))


def floor(connection: Connection) -> list[tuple[State, Credentials]]:
    """Who may sign in at stations, and by what, in the order of their ids."""
    enabled = user_states.c.enabled == 1
    here = user_states.c.role.in_([each.value for each in ON_THE_FLOOR])
    chosen = _now(credentials).join(credentials, credentials.c.user_id == user_states.c.user_id)
    rows = connection.execute(chosen.where(enabled, here).order_by(user_states.c.user_id))
    return [(_state(row), _credentials(row)) for row in rows]


def find_credentials(connection: Connection, user_id: str) -> Credentials | None:
    """What a user signs in by."""
    row = connection.execute(select(credentials).where(credentials.c.user_id == user_id)).one_or_none()
    return None if row is None else _credentials(row)


def use_step(connection: Connection, user_id: str, step: int) -> bool:
    """Use a one-time code's time step up; False if it, or a later one, was used before (compare and set)."""
    mine = (credentials.c.user_id == user_id) & (credentials.c.last_step < step)
    return connection.execute(update(credentials).where(mine).values(last_step=step)).rowcount == 1


def renew(connection: Connection, user_id: str, kept: Credentials) -> None:
    """Other secrets; the badge stays, and the last step too: no step is ever taken twice."""
    connection.execute(update(credentials).where(credentials.c.user_id == user_id).values(**_secrets(kept)))


def set_password(connection: Connection, user_id: str, password: str, floor_password: str) -> None:
    """Other verifiers."""
    values = {"password": password, "floor_password": floor_password}
    connection.execute(update(credentials).where(credentials.c.user_id == user_id).values(**values))


def strengthen(connection: Connection, user_id: str, before: str, password: str) -> None:
    """The same password's verifier at another cost, unless it was changed meanwhile."""
    mine = (credentials.c.user_id == user_id) & (credentials.c.password == before)
    connection.execute(update(credentials).where(mine).values(password=password))


def set_badge(connection: Connection, user_id: str, badge: str | None) -> None:
    """Another badge's hash, or none."""
    connection.execute(update(credentials).where(credentials.c.user_id == user_id).values(badge=badge))


def badge_salt(connection: Connection) -> str | None:
    """What all badges are hashed under."""
    return connection.scalars(select(badge_salts.c.salt)).one_or_none()


def insert_badge_salt(connection: Connection, salt: str) -> None:
    """Once."""
    connection.execute(insert(badge_salts), {"number": 1, "salt": salt})


def _now(*more: Any) -> Select[Any]:
    """The newest state of each user."""
    newest = select(user_states.c.user_id, func.max(user_states.c.number).label("number")).group_by(
        user_states.c.user_id
    )
    last = newest.subquery()
    same = and_(last.c.user_id == user_states.c.user_id, last.c.number == user_states.c.number)
    columns = [each for table in more for each in table.c if each.name != "user_id"]
    return select(user_states, *columns).select_from(user_states).join(last, same)


def _state(row: Row[Any]) -> State:
    return State(
        user_id=row.user_id, number=row.number, what=row.what, role=Role(row.role), enabled=bool(row.enabled),
        by_whom=row.by_whom, at=row.at, approver=row.approver,
    )  # fmt: skip


def _credentials(row: Row[Any]) -> Credentials:
    return Credentials(
        password=row.password, floor_password=row.floor_password, totp_secret=row.totp_secret,
        last_step=row.last_step, badge=row.badge,
    )  # fmt: skip


def _secrets(kept: Credentials) -> dict[str, str]:
    names = ("password", "floor_password", "totp_secret")
    return {each: getattr(kept, each) for each in names}
