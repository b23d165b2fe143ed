"""Who may ask what how often: the rates, by class of route, for addresses and for those who have shown who they are.

Far above what a line needs (tests/registry/test_limits.py: 32 stations behind one address) and below what one client
would need to keep others waiting. Each process counts for itself: N of them allow N times as much. Never decides about
rights: a stranger is refused elsewhere, and pays more for it here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import StrEnum

from registry.limits.admitted import Admitted
from registry.limits.buckets import Buckets, Rate

_STRIKE = 10.0  # what a request costs on top whose credentials did not hold: an address has some 90 such a second
_GUESS = 4.0  # and where secrets are judged: 4 a second


class RouteClass(StrEnum):
    """Routes that cost alike."""

    SECRET = "secret"  # noqa: S105 - judges a password, a code or an assertion: dear for us, and what is guessed at
    BATCH = "batch"  # up to 500 statements at once
    WRITE = "write"
    READ = "read"
    RELAY = "relay"  # a unit's handshake: many small ones, beside which a line goes on pinning


ADDRESS = Rate(1000, 2000)
ADDRESS_SECRETS = Rate(20, 400)
SIGNED = Rate(500, 1000)  # assertions looked at of an address that has used up its share: a signature each, no more
CALLER = {
    RouteClass.SECRET: Rate(5, 20),
    RouteClass.BATCH: Rate(5, 50),
    RouteClass.WRITE: Rate(50, 500),
    RouteClass.READ: Rate(100, 1000),
    RouteClass.RELAY: Rate(200, 2000),
}
DEVICE = Rate(0.2, 10)  # handshakes begun for one device by one station: a unit that fails is tried again by people
_IPV6_NETWORK = 64  # what one customer of a provider has at the least


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is left to whom. `factor` is for all rates; without `addresses` only callers are counted."""

    factor: float = 1.0
    addresses: bool = True
    strangers: Buckets = field(default_factory=Buckets)
    callers: Buckets = field(default_factory=Buckets)  # a table of their own: no stranger makes us forget one
    devices: Buckets = field(default_factory=Buckets)
    admitted: Admitted = field(default_factory=Admitted)

    def address(self, host: str) -> float:
        """A request from this address, whatever it is; seconds to wait if it is too many."""
        return self.strangers.take((network(host),), self._of(ADDRESS)) if self.addresses else 0.0

    def stranger(self, kind: RouteClass, host: str) -> float:
        """A request to a route of this class, before anybody knows whose; seconds to wait if it is too many."""
        if not self.addresses or kind is not RouteClass.SECRET:
            return 0.0
        return self.strangers.take((kind, network(host)), self._of(ADDRESS_SECRETS))

    def signed(self, host: str) -> bool:
        """Whether one more assertion is looked at whose address has nothing left."""
        return self.strangers.take(("signed", network(host)), self._of(SIGNED)) == 0.0

    def caller(self, kind: RouteClass, name: str) -> float:
        """A request of a caller who has shown who they are; seconds to wait if it is too many."""
        return self.callers.take((kind, name), self._of(CALLER[kind]))

    def device(self, station: str, device: str) -> float:
        """A handshake that this station begins for this device; seconds to wait if it is too many."""
        return self.devices.take((station, device), self._of(DEVICE))

    def strike(self, host: str, kind: RouteClass | None = None) -> None:
        """Credentials that came from there did not hold."""
        if not self.addresses:
            return
        self.strangers.charge((network(host),), self._of(ADDRESS), _STRIKE)
        if kind is RouteClass.SECRET:
            self.strangers.charge((kind, network(host)), self._of(ADDRESS_SECRETS), _GUESS)

    def _of(self, rate: Rate) -> Rate:
        return Rate(rate.per_s * self.factor, max(1.0, rate.burst * self.factor))


def network(host: str) -> str:
    """The address, or for IPv6 the network that one client has as a whole."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found.packed, _IPV6_NETWORK), strict=False))
    return str(found)
