"""Whether a signer's request fits what the registry has seen of it: pure, every rule by value.

A signer whose memory was restored or copied asks with a serial number, a lease or a head that the registry has gone
beyond; that is named, never mended. Never looks anything up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from hsm.signer import SignerError
from registry.errors import NotSignedError, RefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import NO_PINS, Lease, LeaseRequest, chained
from trust.root import RootError, TrustedRoot
from trust.statement import StatementError, moment, read

_TOLD = MappingProxyType({Code.LEASE_CONFLICT: Code.LEASE_CONFLICT, Code.STORE_FAILED: Code.STORE_FAILED})
FURTHEST = timedelta(days=366)  # a signer takes no lease that was granted longer after its own time
NAMED = 3  # devices in one answer
_REMEDY = "stop the line and call the security officer: its signer was restored from a backup, or there are two of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """The newest lease of a station, and what the request that it answered has reported."""

    serial: int
    lease_sha256: str
    signed: int
    up_to: int
    head: bytes
    log_size: int
    log_root_hash: bytes
    granted_at: str


def authentic(trusted: TrustedRoot, envelope: Envelope) -> LeaseRequest:
    """The request, of a time that exists, under the account key that the root names now; RefusedError."""
    try:
        request = read(envelope, LeaseRequest)
        if request.environment != trusted.root.environment:
            text = f"lease request of environment {request.environment!r}, expected {trusted.root.environment!r}"
            raise RefusedError(Code.WRONG_ENVIRONMENT, text)
        if not trusted.knows(request.root_sha256):
            text = (
                f"lease request under trust root {request.root_sha256[:16]}…, this registry has {trusted.sha256[:16]}…"
            )
            raise RefusedError(Code.WRONG_ROOT, text)
        moment(request.made_at)
        key = trusted.root.account_key(request.station)
    except (StatementError, RootError) as error:
        raise RefusedError(Code.STATEMENT_INVALID, str(error)) from error
    if not envelope.signed_by(key):
        text = f"lease request: not signed by the account key that the trust root gives {request.station!r}"
        raise RefusedError(Code.STATEMENT_INVALID, text)
    return request


def require_time(now: datetime, known: datetime, what: str = "lease is granted") -> None:
    """The registry's clock has not run far beyond the newest time that it knows; STATEMENT_INVALID, as a signer says.

    A lease that was granted at such a time would stay the station's newest one for ever, and no signer would take it.
    """
    if now - known > FURTHEST:
        text = (
            f"this registry's clock says {now:%Y-%m-%dT%H:%M:%SZ}, more than {FURTHEST.days} days after "
            f"{known:%Y-%m-%dT%H:%M:%SZ}, the newest time of its leases and roots and of the request"
        )
        raise RefusedError(Code.STATEMENT_INVALID, f"{text}: no {what} until the clock that is wrong is set")


def require_next(request: LeaseRequest, last: Granted | None) -> None:
    """The request continues exactly what was granted last; LEASE_CONFLICT otherwise."""
    wanted = (1, "") if last is None else (last.serial + 1, last.lease_sha256)
    if (request.serial, request.previous_sha256) != wanted:
        raise _conflict(request, f"asks for lease {request.serial}, and {wanted[0] - 1} were granted, or another one")
    before, head = (0, NO_PINS) if last is None else (last.signed, last.head)
    if request.signed != before + len(request.pins) or chained(head, request.pins) != request.head:
        raise _conflict(request, f"reports {request.signed} pin statements that do not continue the {before} reported")
    if last is None:
        return
    if request.signed > last.up_to:
        raise _conflict(request, f"has made {request.signed} pin statements, its lease was for {last.up_to}")
    if request.log_size < last.log_size or (
        request.log_size == last.log_size and request.log_root_hash != last.log_root_hash
    ):
        raise _conflict(request, f"has signed its log at {request.log_size}, and at {last.log_size} before")


def taken(request: LeaseRequest, last: Granted | None) -> RefusedError:
    """Why a request that followed the last lease was not stored: `last` is read after the database has refused it."""
    if last is not None and last.serial >= request.serial:
        return _conflict(request, f"asks for lease {request.serial}, and another request was granted it just now")
    return _conflict(request, "reports a pin statement that it has reported before, or one twice")


def left(request: LeaseRequest) -> int:
    """How many pin statements the signer has made and not reported: it cannot report all at once."""
    return max(0, request.total - request.signed)


def require_reported(request: LeaseRequest, missing: list[str]) -> None:
    """Of the pins that were here before the last lease no more are missing than are left; LEASE_CONFLICT names some."""
    if len(missing) > left(request):
        named = ", ".join(missing[:NAMED]) + (" and more" if len(missing) > NAMED else "")
        raise _conflict(request, f"does not report the pin statements of {named}, which carry its signature")


def not_signed(lease: Lease, error: SignerError | StatementError) -> NotSignedError:
    """What it means for a station that the registry's signer refuses the lease, or signs what was not asked for.

    A lease conflict stays one: the registry's database or its signer's memory was put back. Anything else is no
    station's fault.
    """
    code = error.code if isinstance(error, SignerError) else Code.STATEMENT_INVALID
    text = f"lease {lease.serial} of station {lease.station} is granted, and the registry's signer does not sign it"
    text = f"{text} ({code}: {error}): call the registry's operator, asking again helps only after that"
    return NotSignedError(_TOLD.get(code, Code.INTERNAL), text)


def _conflict(request: LeaseRequest, what: str) -> RefusedError:
    return RefusedError(Code.LEASE_CONFLICT, f"the signer of station {request.station} {what}: {_REMEDY}")
