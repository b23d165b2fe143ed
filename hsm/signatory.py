"""One signer as its policy sees it: who it is, the root it serves, its keys and its memory. Never decides by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, Self

from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.orders import OrderBook
from hsm.purposes import Purpose, RoleName
from hsm.signer import SignerError
from hsm.token import Token, TokenError, TokenPinWrongError
from hsm.token.signing import SigningKeys
from trust.codes import Code
from trust.root import TrustedRoot
from trust.statement import Statement

# A time that was signed is this signer's for good: a registry whose clock has jumped must not end every order of it.
_FURTHEST: Final = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """One signer: its role and name, the root it serves, its token and its memory. `clock` gives Unix seconds.

    `counted_ahead`: signatures that the memory has counted and that are not made yet, by purpose.
    """

    role: RoleName
    name: str
    trusted: TrustedRoot
    token: Token
    keys: SigningKeys
    counters: Counters
    orders: OrderBook
    clock: Callable[[], float]
    protections: Mapping[str, bool] = field(default_factory=dict)
    counted_ahead: dict[Purpose, int] = field(default_factory=dict)

    @classmethod
    def over(
        cls,
        token: Token,
        counters: Counters,
        *,
        role: RoleName,
        name: str,
        trusted: TrustedRoot,
        now: Callable[[], float],
        protections: Mapping[str, bool] = MappingProxyType({}),
    ) -> Self:
        """The signer over this token and these counters."""
        keys, orders = SigningKeys(token), OrderBook(counters, trusted)
        return cls(
            role=role,
            name=name,
            trusted=trusted,
            token=token,
            keys=keys,
            counters=counters,
            orders=orders,
            clock=now,
            protections=protections,
        )

    def now(self) -> float:
        """Unix seconds by the system's clock, and never earlier than the newest time that was seen signed."""
        return max(self.clock(), self.counters.newest_time)

    def see_time(self, at: datetime, what: str) -> None:
        """Remember a time that was signed; STATEMENT_INVALID for one that is more than a year ahead."""
        now = datetime.fromtimestamp(self.now(), UTC)
        if at - now > _FURTHEST:
            text = (
                f"{what} is of {at:%Y-%m-%dT%H:%M:%SZ}, more than {_FURTHEST.days} days after {now:%Y-%m-%dT%H:%M:%SZ}"
            )
            raise SignerError(Code.STATEMENT_INVALID, f"{text}, this signer's time: correct the clock that is wrong")
        self.counters.see_time(int(at.timestamp()))

    def require_here(self, statement: Statement, what: str) -> None:
        """Refuse another environment's or another root's statement."""
        root = self.trusted.root
        if statement.environment != root.environment:
            text = f"{what} is of environment {statement.environment!r}, this signer of {root.environment!r}"
            raise SignerError(Code.WRONG_ENVIRONMENT, text)
        if not self.trusted.knows(statement.root_sha256):
            text = f"{what} names trust root {statement.root_sha256[:16]}…, this signer has {self.trusted.sha256[:16]}…"
            raise SignerError(Code.WRONG_ROOT, text)


def refusal(error: SignerError | TokenError | StoreError) -> SignerError:
    """The one error that crosses the socket."""
    match error:
        case SignerError():
            return error
        case TokenPinWrongError():
            return SignerError(Code.TOKEN_PIN_WRONG, str(error))
        case TokenError():
            return SignerError(Code.TOKEN_UNAVAILABLE, str(error))
        case StoreError():
            return SignerError(Code.STORE_FAILED, str(error))
