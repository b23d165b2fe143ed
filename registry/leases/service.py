"""Granting leases: judge the request, store what is granted, have it signed. Unique constraints decide who was first.

Signs outside any transaction, and only what a committed row says: a crash or a silent signer loses nothing, the same
request again gets exactly the lease that was due. Never answers without the signature.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from registry.clock import stamp, utc_now
from registry.database import Database, assure
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.leases import rules, store
from registry.leases.rules import Granted
from trust import lease as leases
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import Lease, LeaseRequest
from trust.root import TrustedRoot
from trust.statement import StatementError, envelope, moment, read

_log = logging.getLogger(__name__)
_CLOCKS = timedelta(seconds=60)  # what two processes of one registry may differ by


class LeaseService:
    """The registry's answer to a signer's request. Safe to call from many threads."""

    def __init__(
        self, database: Database, trusted: TrustedRoot, signer: ReceiptSigner, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._trusted = trusted
        self._signer = signer
        self._now = now

    def grant(self, asked: Envelope) -> Envelope:
        """The lease for this request; the same request again gives the same lease.

        Raises RefusedError, ReceiptUnavailableError when it is granted and its signature must be asked for again, or
        NotSignedError when it is granted and the registry's signer refuses it.
        """
        if self._trusted.root.lease_key is None:
            raise RefusedError(Code.NOT_AUTHORISED, "the trust root names no lease key: no lease is needed here")
        request = rules.authentic(self._trusted, asked)
        try:
            lease = self._database.writing(lambda connection: self._granted(connection, request, asked))
        except IntegrityError as error:
            lease = self._granted_meanwhile(request, asked, error)
        # A crash right here leaves a lease without its signature; the same request again has it signed.
        return self._signed(lease, request)

    def _granted(self, connection: Connection, request: LeaseRequest, asked: Envelope) -> Envelope:
        # The last one first: what another process grants between both looks is then found to be this very request.
        last = store.last(connection, request.station)
        before = store.same(connection, request.station, request.serial, asked.payload_sha256)
        if before is not None:
            assure(connection)
            return before
        rules.require_next(request, last)
        lease = self._lease(request, asked, self._time(connection, request, last))
        store.report(connection, request)
        if last is not None:
            _require_reported(connection, request, stamp(moment(last.granted_at) - _CLOCKS))
        store.insert_lease(connection, request, asked, lease)
        return envelope(lease)

    def _granted_meanwhile(self, request: LeaseRequest, asked: Envelope, error: IntegrityError) -> Envelope:
        """The lease, if this very request was faster in another thread; raises what stands against it."""
        with self._database.read() as connection:
            before = store.same(connection, request.station, request.serial, asked.payload_sha256)
            last = store.last(connection, request.station)
        if before is not None:
            self._database.assure()
            return before
        raise rules.taken(request, last) from error

    def _time(self, connection: Connection, request: LeaseRequest, last: Granted | None) -> datetime:
        """When the lease is granted. A clock that was set back makes none older than the one before it."""
        now, known = self._now(), moment(request.made_at)
        if now - known > rules.FURTHEST:  # an old request, or a clock that is wrong: what is on record tells
            newest = store.newest_time(connection)
            try:
                rules.require_time(now, max(known, moment(newest)) if newest else known)
            except RefusedError:
                _log.exception("no lease is granted: the clock may have jumped", extra={"station": request.station})
                raise
        return now if last is None else max(now, moment(last.granted_at))

    def _lease(self, request: LeaseRequest, asked: Envelope, now: datetime) -> Lease:
        root = self._trusted.root
        return Lease(
            environment=root.environment,
            root_sha256=self._trusted.sha256,
            registry=root.registry,
            station=request.station,
            serial=request.serial,
            request_sha256=asked.payload_sha256,
            signed=request.signed,
            up_to=request.signed + root.lease.units,
            granted_at=stamp(now),
            expires_at=stamp(now + timedelta(days=root.lease.days)),
        )

    def _signed(self, unsigned: Envelope, request: LeaseRequest) -> Envelope:
        key = self._trusted.root.lease_key
        if unsigned.signatures and key is not None and unsigned.signed_by(key):
            return unsigned
        wanted = read(unsigned, Lease)
        try:
            signed = self._signer.sign_lease(wanted)
            _require_same(wanted, leases.granted(self._trusted, signed))
        except SignerUnavailableError as error:
            text = f"granted, but the lease cannot be signed now ({error}): send the same request again"
            raise ReceiptUnavailableError(text) from error
        except (SignerError, StatementError) as error:
            _log.exception("a lease that is granted is not signed", extra={"station": wanted.station})
            raise rules.not_signed(wanted, error) from error
        return signed if unsigned.signatures else self._keep(signed, request)  # the key was replaced since

    def _keep(self, signed: Envelope, request: LeaseRequest) -> Envelope:
        try:
            self._database.writing(lambda connection: store.keep(connection, request.station, request.serial, signed))
        except IntegrityError:  # another thread was faster: its signature is the one
            with self._database.read() as connection:
                theirs = store.kept(connection, request.station, request.serial)
            self._database.assure()
            return theirs
        return signed


def _require_reported(connection: Connection, request: LeaseRequest, before: str) -> None:
    """What is missing stays within what every later request looks at, until it is reported."""
    most = rules.left(request) + rules.NAMED + 1
    missing = store.unreported(connection, request.station, before=before, most=most)
    rules.require_reported(request, [device for device, _ in missing])
    store.examined(connection, request.station, missing[0][1] if missing else before)


def _require_same(wanted: Lease, found: Lease) -> None:
    if found != wanted:
        raise StatementError("the signer signed another lease than was asked for")
