"""The registry's tables, a module a noun: what it was shown and what it answered, each row written once, and counts.

Only what access remembers for minutes goes again (`SWEPT`). Triggers that refuse UPDATE, DELETE and replacement are
made in the migrations. No table has a rowid: a row has no name but its keys. Never reads or writes rows itself.
"""

from __future__ import annotations

from registry.tables.access import access_tokens, nonce_secrets, used_once
from registry.tables.handshakes import device_randoms
from registry.tables.leases import lease_signatures, leases, reported_pins, station_counts
from registry.tables.lives import challenges, pin_acts, proposal_proofs, proposals, rekey_words, revocations
from registry.tables.metadata import metadata
from registry.tables.orders import order_approvals, order_counts, order_raises
from registry.tables.people import (
    badge_salts,
    credentials,
    ended_tokens,
    person_tokens,
    roster_signatures,
    rosters,
    tries,
    user_states,
    users,
)
from registry.tables.pins import completions, orders, pins, receipts, signature_r
from registry.tables.roots import roots

__all__ = [
    "APPEND_ONLY",
    "SWEPT",
    "access_tokens",
    "badge_salts",
    "challenges",
    "completions",
    "credentials",
    "device_randoms",
    "ended_tokens",
    "lease_signatures",
    "leases",
    "metadata",
    "nonce_secrets",
    "order_approvals",
    "order_counts",
    "order_raises",
    "orders",
    "person_tokens",
    "pin_acts",
    "pins",
    "proposal_proofs",
    "proposals",
    "receipts",
    "rekey_words",
    "reported_pins",
    "revocations",
    "roots",
    "roster_signatures",
    "rosters",
    "signature_r",
    "station_counts",
    "tries",
    "used_once",
    "user_states",
    "users",
]

APPEND_ONLY = (
    orders, pins, completions, receipts, signature_r, leases, lease_signatures, reported_pins, roots,
    order_approvals, order_raises,
    users, user_states, badge_salts, person_tokens, ended_tokens, rosters, roster_signatures,
    pin_acts, revocations, proposals, proposal_proofs, rekey_words,
)  # fmt: skip
"""Whose rows are never changed: triggers refuse it, and the role that the registry serves as may not."""

SWEPT = (access_tokens, challenges, device_randoms, nonce_secrets, tries, used_once)
"""Whose rows are of no use after their time and are then removed: the role that the registry serves as may delete."""
