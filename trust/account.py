"""What a station's signer says of its own counting, signed with its *account* key: for stations, auditors and brands.

Pure; never judges whether the numbers are right: the audit holds them against leaves and registry.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trust.statement import Hex32, Name, Statement, Text, Utc

Counted = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Tier = Literal["token-counter", "tpm-counter", "lease", "none"]
"""Where the count is kept so that it cannot be taken back, the strongest first (docs/decisions/0020)."""


class OrderCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order at one signer. `pins <= pin_limit`, `completions - scrapped <= completion_limit`, at all times.

    `raised`: pin statements that acts have added to the allotment's; `returned`: the unused rest was given back.
    """

    order_id: Name
    order_sha256: Hex32
    pins: Counted
    pin_limit: Counted
    completions: Counted
    completion_limit: Counted
    scrapped: Counted
    raised: Counted
    returned: bool


class Signatures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One purpose: distinct payloads, and payloads signed once more as nobody knew whether they were signed."""

    payloads: Counted
    resigned: Counted


class Balance(Statement, frozen=True, kw_only=True, tag="balance"):
    """A signer's books: made before each checkpoint, so that the checkpoint covers it.

    `by_token` is the number of signatures that the token itself, or its command log, says it has made; None where the
    module cannot say (docs/modules.md); `accepted` of them are beside the books, and officers have lifted the stop for
    them. `lease_serial` 0: there was no lease yet.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.balance.v1+json"
    station: Name
    tier: Tier
    token_model: Text
    lease_serial: Counted
    lease_up_to: Counted
    pins: Counted
    signatures: dict[str, Signatures]
    by_token: Counted | None
    accepted: Counted
    orders: tuple[OrderCount, ...]
    stopped: Text
    made_at: Utc


class AllotmentReturn(Statement, frozen=True, kw_only=True, tag="allotment-return"):
    """The station makes no more of this order: what it had not used is zero from now on.

    `quantity` and `allowance` are what is free for others now; units in work may still be completed.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.allotment-return.v1+json"
    station: Name
    order_id: Name
    order_sha256: Hex32
    pins: Counted
    completions: Counted
    quantity: Counted
    allowance: Counted
    made_at: Utc
