"""Papers of a station's ledger for tests: what its signer says of itself, what others had it do. Right as made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from tests.registry.make import MADE_AT, Device, World, ec_key, public, signed, world
from tests.trust.people import Person, approved_by, approvers, people
from trust.account import AllotmentReturn, Balance, OrderCount, Signatures
from trust.act import Act
from trust.dsse import Envelope
from trust.lease import Lease
from trust.revocation import Revocation
from trust.root import RegistryKeys
from trust.statement import Statement, envelope

STATION = "station-01"


def balance(
    made: World, station: str = STATION, *, key: ec.EllipticCurvePrivateKey | None = None, **changes: Any
) -> Envelope:
    """A signer's books, without orders unless they are given."""
    said = Balance(
        environment="demo", root_sha256=made.trusted.sha256, station=station, tier="none", token_model="software",
        lease_serial=0, lease_up_to=0, pins=0, signatures={"pin": Signatures(payloads=0, resigned=0)}, by_token=None, accepted=0,
        orders=(), stopped="", made_at=MADE_AT,
    )  # fmt: skip
    return signed(msgspec.structs.replace(said, **changes), key or made.stations[station].account)


def count(made: World, *, pins: int, completions: int = 0, **changes: Any) -> OrderCount:
    """One order in a balance, by this station's part of the world's order."""
    part = made.order.allotted(STATION)
    said = OrderCount(
        order_id=made.order.order_id, order_sha256=made.order_envelope.payload_sha256, pins=pins,
        pin_limit=part.quantity + part.allowance, completions=completions, completion_limit=part.quantity, scrapped=0,
        raised=0, returned=False,
    )  # fmt: skip
    return msgspec.structs.replace(said, **changes)


def returned(
    made: World, station: str = STATION, *, key: ec.EllipticCurvePrivateKey | None = None, **changes: Any
) -> Envelope:
    """The rest of the world's order, given back."""
    said = AllotmentReturn(
        environment="demo", root_sha256=made.trusted.sha256, station=station, order_id=made.order.order_id,
        order_sha256=made.order_envelope.payload_sha256, pins=0, completions=0, quantity=0, allowance=0, made_at=MADE_AT,
    )  # fmt: skip
    return signed(msgspec.structs.replace(said, **changes), key or made.stations[station].account)


@dataclass(frozen=True, slots=True)
class Papered:
    """A world whose root names people, a lease key and a revocation key, and who holds them."""

    made: World
    who: dict[str, Person]
    lease_key: ec.EllipticCurvePrivateKey
    revocation_key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> Papered:
        who, keys = people(), [ec_key() for _ in range(3)]
        spki = [public(key).spki for key in keys]
        registry_keys = RegistryKeys(receipt=spki[0], lease=spki[1], revocation=spki[2])
        made = world(registry_keys=registry_keys, approvers=approvers(who.values()))
        return cls(replace(made, receipt_key=keys[0]), who, *keys[1:])

    def act(self, *by: str, **changes: Any) -> Envelope:
        """More allowance for the world's order, approved by these people."""
        said = Act(
            environment="demo", root_sha256=self.made.trusted.sha256, signer=STATION, kind="raise-allowance",
            reason="for a test", order_id=self.made.order.order_id, order_sha256=self.made.order_envelope.payload_sha256,
            units=1, nonce="ab" * 32, made_at=MADE_AT, not_after="2026-11-23T20:00:00Z",
        )  # fmt: skip
        return approved_by(envelope(msgspec.structs.replace(said, **changes)), *(self.who[name] for name in by))

    def lease(self, key: ec.EllipticCurvePrivateKey | None = None, **changes: Any) -> Envelope:
        """The station's first lease."""
        said = Lease(
            environment="demo", root_sha256=self.made.trusted.sha256, registry=self.made.trusted.root.registry,
            station=STATION, serial=1, request_sha256="cd" * 32, signed=0, up_to=500, granted_at=MADE_AT,
            expires_at="2026-11-29T20:00:00Z",
        )  # fmt: skip
        return self._signed(said, key or self.lease_key, changes)

    def revocation(self, device: Device, key: ec.EllipticCurvePrivateKey | None = None, **changes: Any) -> Envelope:
        """The registry's word that this device is scrapped."""
        said = Revocation(
            environment="demo", root_sha256=self.made.trusted.sha256, registry=self.made.trusted.root.registry,
            order_id=self.made.order.order_id, job=str(device.job), device_id=str(device.device_id),
            fingerprint=public(device.key).fingerprint, cause="scrapped", act_sha256="ac" * 32, reason="dropped", revoked_at=MADE_AT,
        )  # fmt: skip
        return self._signed(said, key or self.revocation_key, changes)

    def _signed(self, said: Statement, key: ec.EllipticCurvePrivateKey, changes: dict[str, Any]) -> Envelope:
        return signed(msgspec.structs.replace(said, **changes), key)
