"""Issuing the roster: who may sign in at stations now, numbered, stored, then signed. The database decides races.

A new one is made when somebody in it changes, or half of its time is over. Signs outside any transaction, and only what
a committed row says: after a crash the same roster is signed. A row that a clock has left which was ahead gives the
next number, and no time. Never answers without the signature.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from registry.clock import stamp, utc_now
from registry.database import Database, assure
from registry.errors import NotSignedError, ReceiptUnavailableError, RefusedError
from registry.leases import rules
from registry.leases import store as leases
from registry.people import store
from registry.people.accounts import Accounts
from registry.tables import roster_signatures, rosters
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.roster import AHEAD, MAX_PEOPLE, Person, Roster, issued
from trust.statement import StatementError, envelope, moment, read

_log = logging.getLogger(__name__)
LASTS: Final = timedelta(days=14)
_TIMES: Final = 3
_TOLD: Final = frozenset({Code.ROSTER_CONFLICT, Code.STORE_FAILED})


@dataclass(frozen=True, slots=True)
class _Last:
    """The newest row. `told`: when the newest one was made that the signer, with a clock of its own, has signed."""

    roster: Roster
    unsigned: Envelope
    signed: Envelope | None
    told: datetime | None


class RosterService:
    """The registry's newest roster. Safe to call from many threads and processes."""

    def __init__(
        self,
        database: Database,
        trusted: TrustedRoot,
        signer: ReceiptSigner,
        accounts: Accounts,
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._trusted = trusted
        self._signer = signer
        self._accounts = accounts
        self._now = now

    def current(self) -> Envelope:
        """The roster as it is now, signed.

        RefusedError where the root names no roster key, ReceiptUnavailableError when the signer does not answer,
        NotSignedError when it refuses.
        """
        if self._trusted.root.roster_key is None:
            raise RefusedError(Code.NOT_AUTHORISED, "the trust root names no roster key: no roster is issued here")
        salt = self._accounts.badge_salt()
        for again in reversed(range(_TIMES)):
            try:
                with self._database.write() as connection:
                    newest = self._current(connection, salt)
                # A crash right here leaves a roster without its signature; whoever asks next has it signed.
                return self._signed(newest)
            except IntegrityError:  # another process has issued one in this very second, perhaps for other people
                if not again:
                    raise
            except NotSignedError as error:  # or had a newer one signed meanwhile
                if error.code is not Code.ROSTER_CONFLICT or not again:
                    raise
        raise AssertionError("the last time ends by itself")

    def _current(self, connection: Connection, salt: str) -> _Last:
        last, people = _last(connection), _people(connection)
        now = self._now()
        if last is not None and self._is_good(last, people, salt, now):
            assure(connection)
            return last
        _require_time(connection, last, now)
        made = self._roster(last, people, salt, now)
        unsigned = envelope(made)
        connection.execute(insert(rosters), {"serial": made.serial, "roster": unsigned.to_json()})
        return _Last(made, unsigned, None, None)

    def _is_good(self, last: _Last, people: tuple[Person, ...], salt: str, now: datetime) -> bool:
        made, made_at = last.roster, moment(last.roster.made_at)
        same = (made.people, made.badge_salt, made.root_sha256) == (people, salt, self._trusted.sha256)
        # One that is older than what is signed was left by a process whose clock is behind: it is signed no more.
        in_turn = last.signed is not None or last.told is None or made_at >= last.told or _is_ahead(last.told, now)
        return same and in_turn and not _is_ahead(made_at, now) and now < made_at + LASTS / 2

    def _roster(self, last: _Last | None, people: tuple[Person, ...], salt: str, now: datetime) -> Roster:
        # The clock's seconds: a database that was put back goes on above what it has issued since its backup.
        serial = int(now.timestamp()) if last is None else max(int(now.timestamp()), last.roster.serial + 1)
        made_at = max([now, *_told(last, now)])
        root = self._trusted.root
        return Roster(
            environment=root.environment,
            root_sha256=self._trusted.sha256,
            registry=root.registry,
            serial=serial,
            badge_salt=salt,
            people=people,
            made_at=stamp(made_at),
            expires_at=stamp(made_at + LASTS),
        )

    def _signed(self, last: _Last) -> Envelope:
        key = self._trusted.root.roster_key
        if last.signed is not None and key is not None and last.signed.signed_by(key):
            return last.signed
        try:
            signed = self._signer.sign_roster(last.roster)
            _require_same(last.roster, issued(self._trusted, signed))
        except SignerUnavailableError as error:
            text = f"the roster cannot be signed now ({error}): ask again"
            raise ReceiptUnavailableError(text) from error
        except (SignerError, StatementError) as error:
            raise _not_signed(last.roster, error) from error
        return signed if last.signed is not None else self._keep(last.roster.serial, signed)

    def _keep(self, serial: int, signed: Envelope) -> Envelope:
        try:
            with self._database.write() as connection:
                row = {"serial": serial, "envelope": signed.to_json()}
                connection.execute(insert(roster_signatures), row)
        except IntegrityError:
            _log.debug("a roster was signed by another thread at the same time")  # either signature is good
        return signed


def _is_ahead(made_at: datetime, now: datetime) -> bool:
    return made_at - now > AHEAD


def _told(last: _Last | None, now: datetime) -> list[datetime]:
    """The time to go on from, if there is one: signed, and of no clock that was ahead."""
    return [] if last is None or last.told is None or _is_ahead(last.told, now) else [last.told]


def _require_time(connection: Connection, last: _Last | None, now: datetime) -> None:
    """Not years after all that is on record: no row is left behind by a clock that has jumped; NotSignedError."""
    known = _told(last, now) + [moment(each) for each in [leases.newest_time(connection)] if each]
    try:
        if known:
            rules.require_time(now, max(known), "roster is issued")
    except RefusedError as error:
        _log.exception("no roster is issued: the clock may have jumped")
        raise NotSignedError(Code.INTERNAL, f"{error}: call the registry's operator") from error


def _require_same(wanted: Roster, found: Roster) -> None:
    if found != wanted:
        raise StatementError("the signer signed another roster than was asked for")


def _people(connection: Connection) -> tuple[Person, ...]:
    found = tuple(
        Person(user=state.user_id, role=state.role.value, badge=kept.badge or "", verifier=kept.floor_password)  # type: ignore[arg-type]  # `floor` gives these roles only
        for state, kept in store.floor(connection)
    )
    if len(found) > MAX_PEOPLE:
        text = f"{len(found)} people work at stations, a roster takes {MAX_PEOPLE}: have an administrator disable some"
        raise NotSignedError(Code.INTERNAL, text)
    return found


def _last(connection: Connection) -> _Last | None:
    row = connection.execute(
        select(rosters.c.roster, roster_signatures.c.envelope)
        .outerjoin_from(rosters, roster_signatures, roster_signatures.c.serial == rosters.c.serial)
        .order_by(rosters.c.serial.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    newest = connection.execute(
        select(rosters.c.roster)
        .join_from(rosters, roster_signatures, roster_signatures.c.serial == rosters.c.serial)
        .order_by(rosters.c.serial.desc())
        .limit(1)
    ).scalar_one_or_none()
    unsigned = Envelope.from_json(row.roster)
    signed = None if row.envelope is None else Envelope.from_json(row.envelope)
    told = None if newest is None else moment(read(Envelope.from_json(newest), Roster).made_at)
    return _Last(read(unsigned, Roster), unsigned, signed, told)


def _not_signed(roster: Roster, error: SignerError | StatementError) -> NotSignedError:
    code = error.code if isinstance(error, SignerError) else Code.STATEMENT_INVALID
    text = f"roster {roster.serial} is issued, and the registry's signer does not sign it ({code}: {error})"
    _log.error("a roster that is issued is not signed", exc_info=error, extra={"part": "signer"})
    return NotSignedError(code if code in _TOLD else Code.INTERNAL, f"{text}: call the registry's operator")
