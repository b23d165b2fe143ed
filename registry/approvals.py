"""Who has signed a document that the registry keeps, as names, for people at its console. Never decides anything."""

from __future__ import annotations

from trust.approval import approvals
from trust.dsse import Envelope
from trust.root import TrustedRoot


def who(envelope: Envelope, trusted: TrustedRoot, root_sha256: str) -> list[str]:
    """The approvers' names, by the version of the root that the document names; the document has been verified."""
    return sorted(each.person for each in approvals(envelope, trusted.at(root_sha256).approvers))
