"""All that there is of people at one registry, as one value: for its routes, its doors and its console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from registry.clock import utc_now
from registry.database import Database
from registry.people.accounts import Accounts
from registry.people.passwords import Passwords
from registry.people.sessions import Sessions
from registry.people.tokens import Tokens
from trust.verifier import BADGE, PASSWORD, Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Users, how they sign in, and what they hold."""

    accounts: Accounts
    sessions: Sessions
    tokens: Tokens

    @classmethod
    def over(
        cls,
        database: Database,
        issuer: str,
        *,
        cost: Cost = PASSWORD,
        badge_cost: Cost = BADGE,
        addresses: bool = True,
        now: Callable[[], datetime] = utc_now,
    ) -> People:
        """Over this database; `issuer` is what an authenticator shows beside the id. Costs are of Argon2id.

        `addresses`: whether clients' addresses are their own (`address_limits` of `registry.toml`).
        """
        passwords, tokens = Passwords(cost), Tokens(database, now=now)
        return cls(
            accounts=Accounts(database, passwords, issuer, badge_cost=badge_cost, now=now),
            sessions=Sessions(database, passwords, tokens, addresses=addresses, now=now),
            tokens=tokens,
        )


def issuer_of(environment: str, registry: str) -> str:
    """What an authenticator shows: enough to tell two registries apart, and no address."""
    return f"{environment} {registry}"
