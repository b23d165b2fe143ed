"""A world in which pins live on: its root names people, and keys for revocations and re-key authorisations; for tests."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from registry.database import Database
from registry.pins.acts import ActService, Shown, UseCode
from registry.pins.reading import Reading, current
from registry.pins.rows import of_device
from registry.pins.service import PinService
from tests.registry.make import Device, PrivateKey, SoftwareReceiptSigner, World, ec_key, public, sign, world
from tests.trust.orders import changed
from tests.trust.people import Person, approved_by, approvers, file_of, people
from tests.trust.pin_acts import NOW, approved, pin_act, utc
from trust.dsse import Envelope, Signature
from trust.pin_act import PinAct
from trust.proof import proof_message
from trust.rekey import PAYLOAD_TYPE, Authorisation, Step, authorisation
from trust.repin import bound
from trust.root import CloudKeys, RegistryKeys
from trust.root_file import parse, wrap

WHO = people()


def confirmed(_keys: frozenset[str]) -> UseCode:
    """An approver's one-time code that holds, whoever's it is."""
    return lambda _connection: None


TWO = (WHO["pia"], WHO["quinn"])


@dataclass(slots=True)
class Living:
    """A registry with one station's devices, over a clock that tests move."""

    database: Database
    made: World
    signer: SoftwareReceiptSigner
    authority: ec.EllipticCurvePrivateKey
    now: datetime = NOW
    devices: dict[str, Device] = field(default_factory=dict)

    @property
    def pins(self) -> PinService:
        return PinService(self.database, self.made.trusted, self.signer, now=lambda: self.now)

    @property
    def acts(self) -> ActService:
        return ActService(self.database, self.made.trusted, self.signer, now=lambda: self.now)

    @property
    def order(self) -> Envelope:
        return approved_by(self.made.order_envelope, *TWO)

    def device(self, *, active: bool = True, key: PrivateKey | None = None) -> Device:
        """A device that is pinned, and finished unless said otherwise."""
        device = Device() if key is None else Device(key=key)
        pin = self.made.pin(device, order_signed=True, made_at=utc(NOW))
        self.pins.pin(device.device_id, pin, self.order)
        if active:
            self.complete(device)
        self.devices[str(device.device_id)] = device
        return device

    def complete(self, device: Device) -> None:
        """Finish a device that is pinned."""
        held = self.pins.find(device.device_id)
        assert held is not None
        self.pins.complete(device.device_id, self.made.completion(device, held.pin.statement, held.pin.receipt))

    def act(self, device: Device, kind: str, *who: Person, **changes: Any) -> Envelope:
        """An act on the device's key, by product owner and quality unless said otherwise."""
        return approved(self.said(device, kind, **changes), *(who or TWO))

    def said(self, device: Device, kind: str, **changes: Any) -> PinAct:
        fingerprint = public(device.key).fingerprint
        if kind == "rekey":
            changes = {"change": "new-key", "key_type": "ec-p256", **changes}
        return pin_act(self.made.trusted, str(device.device_id), fingerprint, kind, **changes)

    def repin_act(self, device: Device, new: PrivateKey, *who: Person, **changes: Any) -> Envelope:
        return self.act(device, "repin", *who, new_fingerprint=public(new).fingerprint, **changes)

    def shown(
        self, device: Device, act: Envelope, new: PrivateKey, *, leave: Envelope | None = None, old: bool = False,
        challenge: bytes | None = None,
    ) -> Shown:  # fmt: skip
        """What the device shows of its new key over a fresh challenge; with its old key, too."""
        challenge = challenge or self.acts.challenge(device.device_id)[0]
        sha256 = "" if leave is None else leave.payload_sha256
        over = bound(challenge, act.payload_sha256, sha256, public(new).fingerprint)

        def proof(key: PrivateKey, context: str) -> tuple[bytes, bytes]:
            message = proof_message(device.device_id, context, over)
            return sign(key, message), sign(key, message)

        return Shown(
            challenge=challenge, spki=public(new).spki, signatures=proof(new, "repin"),
            old_signatures=proof(device.key, "repin-old") if old else None, authorisation=leave,
        )  # fmt: skip

    def leave(self, act: Envelope, step: Step = Step.NEW_KEY, **changes: Any) -> Envelope:
        """The authority's word to the device, for one step of the act."""
        said = authorisation(
            act, msgspec.json.decode(act.payload, type=PinAct), step, nonce=secrets.token_bytes(32),
            new_fingerprint=changes.pop("new_fingerprint", ""),
        )  # fmt: skip
        return self.leave_of(replace(said, **changes))

    def leave_of(self, said: Authorisation, key: ec.EllipticCurvePrivateKey | None = None) -> Envelope:
        bare = Envelope(said.encode(), PAYLOAD_TYPE)
        key = key or self.authority
        signature = Signature(public(key).fingerprint, sign(key, bare.pae))
        return msgspec.structs.replace(bare, signatures=(signature,))

    def repinned(self, device: Device, new: PrivateKey, **changes: Any) -> Reading:
        """The device with a new key, approved by both."""
        act = self.repin_act(device, new, **changes)
        return self.acts.repin(device.device_id, act, self.shown(device, act, new))

    def read(self, device: Device) -> Reading:
        """By the readers' function, from the rows alone."""
        with self.database.read() as connection:
            rows = of_device(connection, str(device.device_id))
        assert rows is not None
        return current(rows, self.made.trusted, self.now)

    def states(self, device: Device) -> list[str]:
        return [each.state for each in self.read(device).keys]


def living(database: Database, **changes: Any) -> Living:
    """A new one."""
    receipt, revocation, authority = ec_key(), ec_key(), ec_key()
    plain = world(**changes)
    order = changed(plain.order, authority_key=public(authority).spki)
    keys = CloudKeys(
        device_service=(order.cloud_key,), authority=(order.authority_key,), handshake=public(ec_key()).spki
    )  # fmt: skip
    root = msgspec.structs.replace(
        plain.trusted.root, approvers=approvers(WHO.values()), cloud_keys=keys,
        registry_keys=RegistryKeys(receipt=public(receipt).spki, revocation=public(revocation).spki),
    )  # fmt: skip
    trusted = parse(file_of(approved_by(wrap(root), WHO["ada"], WHO["ben"])))
    made = replace(plain, trusted=trusted, order=changed(order, root_sha256=trusted.sha256), receipt_key=receipt)
    signer = SoftwareReceiptSigner(trusted, receipt, revocation_key=revocation, authority_key=authority)
    return Living(database, made, signer, authority)
