"""The signer's lease, carried to the registry and back: the signer needs no network.

Never judges a request; what the registry answers is verified before the signer gets it. A lease is on record before it
is used.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from hsm.signer import Signer, SignerError, SignerStatus
from station.cloud import Cloud, CloudUnreachableError
from station.faults import fault
from station.line import Line
from trust import lease as leases
from trust.codes import Code
from trust.dsse import Envelope
from trust.lease import Lease, LeaseRequest
from trust.root import TrustedRoot
from trust.statement import PinStatement, StatementError, read


class Papers(Protocol):
    """Where papers are put on record."""

    async def keep_paper(self, paper: Envelope) -> None:
        """As a leaf; the same again changes nothing."""


async def renew(signer: Signer, cloud: Cloud, root: TrustedRoot, papers: Papers) -> Lease:
    """A new lease for the signer. Leaf errors go through; the fault `registry-wrong` for a lease that does not hold.

    More than one, where it made so many pin statements before there were leases that one request cannot report them.
    """
    lease, left = await _renewed(signer, cloud, root, papers)
    before = left + 1
    while 0 < left < before:  # a signer that reports nothing more is not asked for ever
        before = left
        lease, left = await _renewed(signer, cloud, root, papers)
    return lease


async def _renewed(signer: Signer, cloud: Cloud, root: TrustedRoot, papers: Papers) -> tuple[Lease, int]:
    """The next lease, and how many pin statements its request has not reported."""
    request = await signer.lease_request()
    try:
        asked = read(request, LeaseRequest)
    except StatementError as error:
        raise fault("signer-wrong", f"its lease request: {error}") from error
    # A crash or a lost answer anywhere from here: the same request gives the same lease.
    answer = await cloud.lease(request)
    try:
        lease = leases.granted(root, answer)
    except StatementError as error:
        raise fault("registry-wrong", str(error)) from error
    if lease.request_sha256 != request.payload_sha256:
        raise fault("registry-wrong", "its lease does not answer the signer's request")
    await papers.keep_paper(answer)
    await signer.import_lease(answer)
    return lease, asked.total - asked.signed


async def sign_pin(line: Line, statement: PinStatement) -> Envelope:
    """The statement, signed; a lease that is used up is renewed first, by one slot for all that wait.

    Leaf errors go through; the fault `lease-needed` when the registry does not answer, `line-stopped` for those who
    waited meanwhile.
    """
    try:
        return await line.signer.sign_pin(statement)
    except SignerError as error:
        if error.code is not Code.LEASE_NEEDED:
            raise
    async with line.renewing:
        line.stop.check()  # the slot before may have found that the registry is away
        try:
            return await line.signer.sign_pin(statement)
        except SignerError as error:
            if error.code is not Code.LEASE_NEEDED:
                raise
        try:
            await renew(line.signer, line.cloud, line.root, line.jobs)
        except CloudUnreachableError as error:
            raise fault("lease-needed", str(error)) from error
        return await line.signer.sign_pin(statement)


def is_low(status: SignerStatus, root: TrustedRoot, now: datetime) -> bool:
    """Whether the lease should be renewed while the registry answers: there is none, or half of it is used or over.

    So that a line goes on for at least half a lease when the registry is away.
    """
    if status.tier != "lease":
        return False
    if status.lease is None:
        return True
    if datetime.fromisoformat(status.lease.expires_at) - now <= timedelta(days=root.root.lease.days) / 2:
        return True
    return status.lease.up_to - status.pins <= root.root.lease.units // 2
