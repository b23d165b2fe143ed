"""A factory in miniature for the signer's tests: an order, devices with real keys, and statements that hold.

Each statement is right as made; a test changes one thing to break one rule. Encodes the device's bytes from docs/wire.md,
not with the product's codec.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.signer import ChallengeRequest
from tests.hsm.local_signer import CloudVerbs, FactoryVerbs
from tests.hsm.software_token import SoftwareToken, sealed
from tests.trust import orders
from tests.trust.handshakes import report_of
from trust.dsse import Envelope
from trust.identity import DeviceId, JobId
from trust.keys import PublicKey
from trust.order import WorkOrder
from trust.root import TrustedRoot
from trust.statement import (
    Closing,
    Completion,
    Declared,
    PinStatement,
    Possession,
    Receipt,
    Verification,
    Vetting,
    envelope,
)

FIRMWARE = "ab" * 32
MADE_AT = "2026-11-22T20:00:00Z"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public(key: PrivateKey) -> PublicKey:
    return PublicKey.from_der(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


CLOUD_KEY, AUTHORITY_KEY = public(ec_key()), public(ec_key())


@dataclass(slots=True)
class Device:
    """One device under one job."""

    key: PrivateKey = field(default_factory=ec_key)
    device_id: DeviceId = field(default_factory=lambda: DeviceId(JobId.new().raw[:12]))
    job: JobId = field(default_factory=JobId.new)

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))

    def prove(self, context: str, challenge: bytes) -> Possession:
        label = context.encode()
        head = b"device-proof-v1\x00" + bytes([12]) + self.device_id.raw + bytes([len(label)])
        message = head + label + challenge
        return Possession(challenge=challenge, context=context, signatures=(self.sign(message), self.sign(message)))

    def report(self, order: WorkOrder, **changes: Any) -> bytes:
        said: dict[str, Any] = {
            "device": self.device_id.raw, "job": self.job.raw, "own": bytes.fromhex(public(self.key).fingerprint),
            "cloud": bytes.fromhex(order.cloud.fingerprint), "authority": bytes.fromhex(order.authority.fingerprint),
            "service": 1 if order.service == "udp" else 0, "port": order.port, "host": order.host,
            "firmware": bytes.fromhex(FIRMWARE), "locked": 1, "debug": 0, "readout": 0, "emulated": 1,
        } | changes  # fmt: skip
        return (
            b"DREP\x01" + said["device"] + said["job"] + said["own"] + said["cloud"] + said["authority"]
            + struct.pack(">BHB", said["service"], said["port"], len(said["host"])) + said["host"].encode() + said["firmware"]
            + bytes([said["locked"], said["debug"], said["readout"], 0, said["emulated"]])
        )  # fmt: skip

    def closing(self, order: WorkOrder, challenge: bytes, **changes: Any) -> Closing:
        report = self.report(order, **changes)
        return Closing(
            challenge=challenge, report=report, signature=self.sign(b"device-report-v1\x00" + challenge + report)
        )


def make_order(trusted: TrustedRoot, **changes: Any) -> WorkOrder:
    keys = {"cloud_key": CLOUD_KEY.spki, "authority_key": AUTHORITY_KEY.spki}
    return orders.make(
        trusted.sha256, trusted.root.stations, FIRMWARE, **{"quantity": 3, "allowance": 1, **keys, **changes}
    )


@dataclass(slots=True)
class Floor:
    """One signer, one registry, one order, and the statements between them."""

    trusted: TrustedRoot
    order: WorkOrder
    factory: FactoryVerbs
    cloud: CloudVerbs
    station: str = "st-01"

    def __post_init__(self) -> None:
        self.factory.import_order(self.order_envelope)

    @property
    def order_envelope(self) -> Envelope:
        return envelope(self.order)

    def challenge(self, device: Device, purpose: Any = "pin") -> bytes:
        return self.factory.challenge(self.challenge_request(device, purpose))

    def challenge_request(self, device: Device, purpose: Any = "pin") -> ChallengeRequest:
        return ChallengeRequest(
            purpose=purpose, order_id=self.order.order_id, job=str(device.job), device_id=str(device.device_id)
        )

    def pin(self, device: Device, challenge: bytes | None = None, **changes: Any) -> PinStatement:
        key = public(device.key)
        made = PinStatement(
            environment="demo", root_sha256=self.trusted.sha256, order_id=self.order.order_id,
            order_sha256=self.order_envelope.payload_sha256, order_signed=False, station=self.station, job=str(device.job),
            device_id=str(device.device_id), product=self.order.product, product_id=self.order.product_id,
            key_type=key.key_type.value, spki=key.spki, fingerprint=key.fingerprint, origin="generated", origin_proven=True,
            possession=device.prove("pin", self.challenge(device) if challenge is None else challenge),
            vetting=Vetting(verdict="ok", checks=("parameters",)),
            declared=Declared(
                hardware="emulated", firmware_version="1.0.0", firmware_sha256=FIRMWARE, debug_closed=False,
                readout_protected=False, key_storage="plain-flash", emulated=True,
            ),
            made_at=MADE_AT,
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def receipt(self, device: Device, pin: Envelope, **changes: Any) -> Receipt:
        made = Receipt(
            environment="demo", root_sha256=self.trusted.sha256, registry=self.cloud.signatory.name, subject="pin",
            statement_sha256=pin.payload_sha256, order_id=self.order.order_id, job=str(device.job),
            device_id=str(device.device_id), fingerprint=public(device.key).fingerprint, state="provisional",
            registered_at=MADE_AT,
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def pinned(self, device: Device) -> tuple[Envelope, Envelope]:
        """Pin statement and receipt of a device, both signed."""
        pin = self.factory.sign_pin(self.pin(device))
        return pin, self.cloud.sign_receipt(self.receipt(device, pin))

    def verification(self, device: Device) -> Verification:
        """State 10, with a handshake report where the order wants one."""
        said = Verification(cycle="power-cycle", possession=device.prove("verify", bytes(32)), handshake="not-asked")
        if not self.order.handshakes:
            return said
        report = self.handshake_report(device)
        return msgspec.structs.replace(said, handshake="proved", handshake_report=report)

    def handshake_report(self, device: Device, label: str = "handshake", **changes: Any) -> Envelope:
        """The device service's word, by this key of the cloud's token."""
        about = {
            "station": self.station, "job": str(device.job), "device_id": str(device.device_id),
            "fingerprint": public(device.key).fingerprint,
        }  # fmt: skip
        said = report_of(self.trusted, self.order, **{**about, **changes})
        token = self.cloud.signatory.token
        assert isinstance(token, SoftwareToken)
        return sealed(token, said, label)

    def completion(
        self, device: Device, pin: Envelope, receipt: Envelope, report: dict[str, Any] | None = None, **changes: Any
    ) -> Completion:
        if "closing" not in changes:
            changes["closing"] = device.closing(self.order, self.challenge(device, "report"), **(report or {}))
        made = Completion(
            environment="demo", root_sha256=self.trusted.sha256, order_id=self.order.order_id,
            order_sha256=self.order_envelope.payload_sha256, station=self.station, job=str(device.job),
            device_id=str(device.device_id), fingerprint=public(device.key).fingerprint, pin_sha256=pin.payload_sha256,
            receipt_sha256=receipt.payload_sha256, cloud_fingerprint=self.order.cloud.fingerprint,
            authority_fingerprint=self.order.authority.fingerprint, service=self.order.service, host=self.order.host,
            port=self.order.port, write_refused_after_lock=True, emulated=True, made_at=MADE_AT, closing=changes["closing"],
            verification=self.verification(device),
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)
