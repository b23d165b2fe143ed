"""Statements in the log that are about no job: what the signer said of its counting, and what others had it do.

Never judged here: whose signature each must carry is for `station.audit.papers` and for who takes it in.
"""

from __future__ import annotations

from typing import Final

from trust.account import AllotmentReturn, Balance
from trust.act import Act
from trust.lease import Lease
from trust.minutes import Minutes
from trust.revocation import Revocation

REVOKED: Final = "revocation"
"""Subject of a revocation's leaf; its step is the device's id: a device has at most one on record."""

Paper = Balance | AllotmentReturn | Act | Revocation | Lease | Minutes
PAPERS: Final[tuple[type[Paper], ...]] = (Balance, AllotmentReturn, Act, Revocation, Lease, Minutes)


def place(paper: Paper, payload_sha256: str) -> tuple[str, str]:
    """Its one place in the log: subject and step."""
    match paper:
        case Balance():
            return "balance", payload_sha256
        case AllotmentReturn():
            return paper.order_id, "returned"
        case Act():
            return "act", payload_sha256
        case Minutes():
            return "minutes", payload_sha256
        case Revocation():
            return REVOKED, paper.device_id
        case Lease():
            return "lease", str(paper.serial)


def order_of(paper: Paper) -> str:
    """The order whose numbers it changes, or empty."""
    match paper:
        case AllotmentReturn() | Act():
            return paper.order_id
        case _:
            return ""
