"""Signing in: a user's id, password and one-time code, judged together, for a session.

The same answer, and about the same time, whatever of the three is wrong, or whether there is such a user at all. Each
try is counted before it is looked at (`registry.people.throttle`), and a code is used up in the database, so that none
is taken twice by any process. Never says which part was wrong.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from registry.access.denied import DeniedError, bearer_challenge, forbidden, unknown
from registry.clock import utc_now
from registry.database import Database
from registry.people import store, throttle, totp
from registry.people.passwords import Passwords
from registry.people.store import Credentials, State
from registry.people.throttle import STRANGERS, Try
from registry.people.tokens import Issued, Tokens
from trust.codes import Code

_DEVICE_BYTES: Final = 24
_NOBODYS_ID: Final = ""
Opening = Callable[[Connection, State], Issued]
"""What a sign-in opens, inside the transaction that uses the code up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """What somebody shows who signs in. `address`: from where; `device`: what it was given last time, or empty."""

    user_id: str
    password: str = field(repr=False)
    code: str = field(repr=False)
    address: str
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session, and a device's own token: whoever shows it later has tries of his own, whoever else guesses."""

    session: Issued
    device: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A try, and who it may be; `state` None: nobody, or nobody who may sign in."""

    tried: Try
    state: State | None
    credentials: Credentials


class Sessions:
    """Signs people in. Safe to call from many threads and processes."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        tokens: Tokens,
        *,
        addresses: bool = True,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`addresses` False: all clients have the balancer's, so an address is nobody's place."""
        self._database = database
        self._passwords = passwords
        self._tokens = tokens
        self._addresses = addresses
        self._now = now
        # Of nobody: an unknown id costs what a known one does, and the same answer.
        self._nobody = Credentials(password=passwords.nobodys, floor_password="", totp_secret=totp.new_secret())

    def open(self, shown: Presented) -> Opened:
        """A session. DeniedError: 401 SIGN_IN_REFUSED, or 429 TOO_MANY_TRIES when nothing was tried."""
        weighed, good = self._password(shown)
        step = self._step(weighed, shown.code)  # looked at in any case
        if not good or step is None or weighed.state is None:
            raise refused()
        opened = self._opened(shown, weighed, step)
        self._strengthen(shown, weighed)
        return opened

    def check_password(self, shown: Presented) -> None:
        """The first half alone, for a door that asks for the code afterwards; DeniedError. Clears no count."""
        weighed, good = self._password(shown)
        if not good or weighed.state is None:
            raise refused()

    def open_by_code(self, shown: Presented, opening: Opening | None = None) -> Opened:
        """The second half alone, for whoever has shown the password, or a session; DeniedError as `open`.

        `opening` makes something narrower than a session.
        """
        weighed = self._weighed(shown)
        throttle.begin(self._database, weighed.tried, self._now_s())
        step = self._step(weighed, shown.code)
        if step is None or weighed.state is None:
            raise refused()
        return self._opened(shown, weighed, step, opening)

    def given(self, shown: Presented, keys: frozenset[str]) -> Callable[[Connection], None]:
        """An approver's code alone, of one who approves with one of these keys. DeniedError as `open`; 403 for others.

        Judged now, and used up by calling what is returned inside the transaction of what it is given for.
        """
        weighed = self._weighed(shown)
        if weighed.state is None or weighed.state.approver not in keys:  # so nobody else's tries are used up
            text = "the act is not approved with this user's key: the approver who signed it gives his own code"
            raise forbidden(Code.NOT_AUTHORISED, f"{text} (station-registry user approver says whose key is whose)")
        throttle.begin(self._database, weighed.tried, self._now_s())
        step = self._step(weighed, shown.code)
        if step is None:
            raise refused()
        device = shown.device if _knows_device(shown, weighed.tried) else ""

        def use(connection: Connection) -> None:
            self._use(connection, shown, weighed, step, device)

        return use

    def _password(self, shown: Presented) -> tuple[_Weighed, bool]:
        weighed = self._weighed(shown)
        lane = self._passwords.strangers if weighed.tried.origin == STRANGERS else self._passwords.known
        with lane.turn():
            throttle.begin(self._database, weighed.tried, self._now_s())
            return weighed, self._passwords.holds(weighed.credentials.password, shown.password)

    def _weighed(self, shown: Presented) -> _Weighed:
        user_id = shown.user_id if store.is_id(shown.user_id) else _NOBODYS_ID  # looked up all the same
        with self._database.read() as connection:
            state = store.state(connection, user_id)
            kept = store.find_credentials(connection, user_id)
            subject = user_id if state is not None else throttle.shadow_of(shown.user_id)
            origin = throttle.which(connection, user_id, self._places(shown, shown.device))
            tried = Try(subject, origin)
            throttle.require_may(connection, tried, self._now_s())
        may = state is not None and state.enabled
        return _Weighed(tried, state if may else None, kept or self._nobody)

    def _step(self, weighed: _Weighed, code: str) -> int | None:
        return totp.step_of(weighed.credentials.totp_secret, code, now_s=self._now().timestamp())

    def _opened(self, shown: Presented, weighed: _Weighed, step: int, opening: Opening | None = None) -> Opened:
        device = shown.device if _knows_device(shown, weighed.tried) else secrets.token_urlsafe(_DEVICE_BYTES)
        try:
            with self._database.write() as connection:
                # The code is used up and the session made in one transaction: a crash gives both or neither.
                state = self._use(connection, shown, weighed, step, device)
                return Opened(session=(opening or self._tokens.open_session)(connection, state), device=device)
        except IntegrityError as error:  # signed in twice at once from the same new place: one of them was first
            raise refused() from error

    def _use(self, connection: Connection, shown: Presented, weighed: _Weighed, step: int, device: str) -> State:
        used = store.use_step(connection, shown.user_id, step)
        state = store.state(connection, shown.user_id)
        if not used or state != weighed.state or state is None:
            raise refused()
        throttle.succeeded(connection, weighed.tried, self._places(shown, device), self._now_s())
        return state

    def _strengthen(self, shown: Presented, weighed: _Weighed) -> None:
        before = weighed.credentials.password
        if not self._passwords.is_stale(before):
            return
        with suppress(DeniedError), self._passwords.known.turn():
            made = self._passwords.made(shown.password)
            with self._database.write() as connection:
                store.strengthen(connection, shown.user_id, before, made)

    def _places(self, shown: Presented, device: str) -> tuple[str, ...]:
        """A device's own token first: an address may be shared by many."""
        token = (throttle.device_of(shown.user_id, device),) if device else ()
        return (*token, throttle.place_of(shown.user_id, shown.address)) if self._addresses else token

    def _now_s(self) -> int:
        return int(self._now().timestamp())


def refused() -> DeniedError:
    """The one answer to whatever does not sign in."""
    text = "id, password or code is wrong, or the code was used before: wait for the next code"
    return unknown(Code.SIGN_IN_REFUSED, text, [bearer_challenge()])


def _knows_device(shown: Presented, tried: Try) -> bool:
    return bool(shown.device) and tried.origin == throttle.device_of(shown.user_id, shown.device)
