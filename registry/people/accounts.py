"""Users: random ids with a role and what they sign in by. An act on a user is a row more, never a row changed.

Which person an id belongs to is written down outside of all this. Secrets are shown to the caller once, at the act that
makes them. Never decides who may ask: routes and the console do.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from registry.access.caller import Role
from registry.clock import stamp, utc_now
from registry.database import Database, assure
from registry.errors import RefusedError
from registry.people import roles, store, throttle, totp
from registry.people.passwords import Passwords, require_good
from registry.people.store import Credentials, State
from trust import verifier
from trust.codes import Code
from trust.printable import printable
from trust.roster import MAX_PEOPLE
from trust.verifier import BADGE, Cost

CONSOLE: Final = "console"
"""Who acts at the registry's own machine."""
_PASSWORD_BYTES: Final = 15  # 120 bits, 20 characters
_SHOWN: Final = 64
_KEY: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What somebody signs in by from now on. Shown once: `password` is to be changed by its person."""

    user_id: str
    password: str = field(repr=False)
    enrolment: str = field(repr=False)


class Accounts:
    """Users of one registry. Safe to call from many threads and processes: the database decides races."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        issuer: str,
        *,
        badge_cost: Cost = BADGE,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._issuer = issuer
        self._badge_cost = badge_cost
        self._now = now

    def all(self) -> list[State]:
        """Everybody, as they are now, in the order of their ids."""
        with self._database.read() as connection:
            return store.everybody(connection)

    def history(self, user_id: str) -> list[State]:
        """What became of a user, oldest first; USER_UNKNOWN."""
        _require_id(user_id)
        with self._database.read() as connection:
            found = store.history(connection, user_id)
        if not found:
            raise _unknown(user_id)
        return found

    def add(self, role: Role, by: str) -> Made:
        """A new user; USER_CONFLICT if the roster is full."""
        user_id = secrets.token_hex(16)
        made, kept = self._credentials(user_id)
        at = stamp(self._now())
        state = State(user_id=user_id, number=1, what="added", role=role, enabled=True, by_whom=by, at=at)
        with self._database.write() as connection:
            self._require_room(connection, role)
            store.insert_user(connection, state, kept)
        return made

    def set_role(self, user_id: str, role: Role, by: str) -> State:
        """Another role; ends the user's sessions and tokens. The same role again changes nothing."""
        with self._acting(user_id, by) as connection:
            state = self._newest(connection, user_id)
            if state.role is role:
                return _already(connection, state)
            if state.enabled and state.role not in roles.ON_THE_FLOOR:
                self._require_room(connection, role)
            return self._state(connection, state, "role", by, role=role)

    def disable(self, user_id: str, by: str) -> State:
        """Signs in no more, and is in no new roster; ends sessions and tokens. Again changes nothing."""
        with self._acting(user_id, by) as connection:
            state = self._newest(connection, user_id)
            if not state.enabled:
                return _already(connection, state)
            return self._state(connection, state, "disabled", by, enabled=False)

    def enable(self, user_id: str, by: str) -> State:
        """Signs in again, also if tries had locked it."""
        with self._writing() as connection:
            state = self._newest(connection, user_id)
            throttle.lift(connection, user_id)
            if state.enabled:
                return _already(connection, state)
            self._require_room(connection, state.role)
            return self._state(connection, state, "enabled", by, enabled=True)

    def reset(self, user_id: str, by: str) -> Made:
        """A new password and a new secret for one-time codes, for who has lost them; ends sessions and tokens."""
        self.history(user_id)
        made, kept = self._credentials(user_id)
        with self._acting(user_id, by) as connection:
            state = self._newest(connection, user_id)
            throttle.forget(connection, user_id)
            self._state(connection, state, "reset", by)
            store.renew(connection, user_id, kept)
        return made

    def set_badge(self, user_id: str, badge: str | None, by: str) -> State:
        """The badge that signs in at stations, or none; USER_CONFLICT if it is another's. Sessions go on."""
        hashed = None if badge is None else self._hashed(badge)
        with self._writing() as connection:
            state = self._newest(connection, user_id)
            store.set_badge(connection, user_id, hashed)
            return self._state(connection, state, "badge", by)

    def set_approver(self, user_id: str, key: str, by: str) -> State:
        """The key that the user approves acts with (its fingerprint), or empty for none; ends sessions and tokens."""
        if key and not _KEY.fullmatch(key):
            text = "an approver's key is named by its fingerprint, 64 hex digits: station-signer approver show says it"
            raise RefusedError(Code.MALFORMED, text)
        with self._acting(user_id, by) as connection:
            state = self._newest(connection, user_id)
            return state if state.approver == key else self._state(connection, state, "approver", by, approver=key)

    def set_password(self, user_id: str, password: str) -> State:
        """The user's own, chosen by its person; ends sessions and tokens. PASSWORD_WEAK."""
        require_good(password, user_id)
        with self._passwords.known.turn():
            kept, floor = self._passwords.made(password), self._passwords.made(password)
        with self._writing() as connection:
            state = self._newest(connection, user_id)
            store.set_password(connection, user_id, kept, floor)
            return self._state(connection, state, "password", user_id)

    def badge_salt(self) -> str:
        """What all badges are hashed under; made when it is first needed."""
        with self._database.read() as connection:
            found = store.badge_salt(connection)
        if found is not None:
            return found
        with contextlib.suppress(IntegrityError), self._database.write() as connection:
            store.insert_badge_salt(connection, verifier.badge_salt(self._badge_cost))
        return self.badge_salt()  # another thread or process may have been faster: its salt is the one

    def _hashed(self, badge: str) -> str:
        try:
            return verifier.badge_hash(badge, self.badge_salt())
        except ValueError as error:
            raise RefusedError(Code.MALFORMED, f"this is no badge: {error}") from error

    def _credentials(self, user_id: str) -> tuple[Made, Credentials]:
        password, secret = secrets.token_urlsafe(_PASSWORD_BYTES), totp.new_secret()
        with self._passwords.known.turn():
            kept, floor = self._passwords.made(password), self._passwords.made(password)
        enrolment = totp.enrolment(secret, user=user_id, issuer=self._issuer)
        made = Made(user_id=user_id, password=password, enrolment=enrolment)
        return made, Credentials(password=kept, floor_password=floor, totp_secret=secret)

    @contextmanager
    def _acting(self, user_id: str, by: str) -> Iterator[Connection]:
        """Nobody does to himself what an administrator does: the last one could lock everybody out."""
        if user_id == by:
            raise RefusedError(Code.NOT_AUTHORISED, "not to yourself: another administrator does that, or the console")
        with self._writing() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._database.write() as connection:
                yield connection
        except IntegrityError as error:
            text = "this badge is another user's, or somebody else changed this user just now: look, then do it again"
            raise RefusedError(Code.USER_CONFLICT, text) from error

    def _newest(self, connection: Connection, user_id: str) -> State:
        _require_id(user_id)
        state = store.state(connection, user_id)
        if state is None:
            raise _unknown(user_id)
        return state

    def _state(self, connection: Connection, before: State, what: str, by: str, **changes: Any) -> State:
        made = replace(before, number=before.number + 1, what=what, by_whom=by, at=stamp(self._now()), **changes)
        store.insert_state(connection, made)
        return made

    def _require_room(self, connection: Connection, role: Role) -> None:
        if role in roles.ON_THE_FLOOR and store.on_the_floor(connection) >= MAX_PEOPLE:
            text = f"the roster takes {MAX_PEOPLE} people who work at stations: disable somebody first"
            raise RefusedError(Code.USER_CONFLICT, text)


def _already(connection: Connection, state: State) -> State:
    """Nothing to do: but that it was done must not be lost either, once it is told."""
    assure(connection)
    return state


def _require_id(user_id: str) -> None:
    if not store.is_id(user_id):
        raise _unknown(user_id)


def _unknown(user_id: str) -> RefusedError:
    return RefusedError(Code.USER_UNKNOWN, f"no user {printable(user_id, _SHOWN)}")
