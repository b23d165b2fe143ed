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
            present = {each.person for each in approvals(envelope, root.approvers)}
            if len(set(paper.officers)) < 2 or not set(paper.officers) <= present:  # noqa: PLR2004 - two officers
                yield "Minutes: not approved by each officer whom they name"
            return
        # Also by a key that has followed since: what a crash left unsigned, or lost, is signed anew by the present one.
        keys = [_key(paper, each, station) for each in trusted.since(paper.root_sha256)]
    except (RootError, ApprovalError) as error:
        yield str(error)
        return
    if not any(key is not None and envelope.signed_by(key) for key in keys):
        yield f"{type(paper).__name__}: not signed by the key that the trust root names for it"


def _key(paper: Balance | AllotmentReturn | Revocation | Lease, root: Root, station: str) -> PublicKey | None:
    match paper:
        case Balance() | AllotmentReturn():
            return root.account_key(station)
        case Revocation():
            return root.revocation_key
        case Lease():
            return root.lease_key
