"""What a paper in the log must carry: the signature that the trust root asks for, by the version that it names.

Pure. Written from docs/statements.md for the audit alone: who takes a paper in judges it with `trust` (ADR 0015). An
act may be old by now, and a lease long over: whether it was in force then is not asked again.
"""

from __future__ import annotations

from collections.abc import Iterator

from station.jobs.papers import Paper
from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.approval import ApprovalError, approvals, require_officers
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.lease import Lease
from trust.minutes import Minutes
from trust.revocation import Revocation
from trust.root import Root, RootError, TrustedRoot


def problems(paper: Paper, envelope: Envelope, trusted: TrustedRoot, station: str) -> Iterator[str]:
    """What is wrong with it in this station's log."""
    if isinstance(paper, Revocation) and paper.cause != "scrapped":
        yield "Revocation: of a key; only scrap is kept in a station's log"
    whose = paper.signer if isinstance(paper, Act) else getattr(paper, "station", station)
    if whose != station:
        yield f"{type(paper).__name__} of {whose!r} in the log of {station!r}"
        return
    try:
        root = trusted.at(paper.root_sha256)
        if isinstance(paper, Act):
            approved = approvals(envelope, root.approvers)
            require_officers(approved, at_least=root.thresholds.act, whose="the act is approved by")
            return
        if isinstance(paper, Minutes):
            yield from _of_minutes(paper, envelope, root, station)
            return
        # Also by a key that has followed since: what a crash left unsigned, or lost, is signed anew by the present one.
        keys = [_key(paper, each, station) for each in trusted.since(paper.root_sha256)]
    except (RootError, ApprovalError) as error:
        yield str(error)
        return
    if not any(key is not None and envelope.signed_by(key) for key in keys):
        yield f"{type(paper).__name__}: not signed by the key that the trust root names for it"


def _of_minutes(minutes: Minutes, envelope: Envelope, root: Root, station: str) -> Iterator[str]:
    """Whose signer they tell of, and the officers who were there: enough for an act, and each has signed."""
    signers = {"factory": station, "cloud": root.registry}
    if minutes.signer != signers[minutes.role]:
        yield f"Minutes: of {minutes.role} signer {minutes.signer!r} in the log of {station!r}"
    signed = {each.person for each in approvals(envelope, root.approvers) if "officer" in each.roles}
    there = set(minutes.officers)
    if len(there) < root.thresholds.act or there - signed:
        yield f"Minutes: not approved by each officer whom they name, or by fewer than {root.thresholds.act}"


def _key(paper: Balance | AllotmentReturn | Revocation | Lease, root: Root, station: str) -> PublicKey | None:
    match paper:
        case Balance() | AllotmentReturn():
            return root.account_key(station)
        case Revocation():
            return root.revocation_key
        case Lease():
            return root.lease_key
