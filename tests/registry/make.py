"""Valid orders, roots, statements and devices for tests, with real keys made on the spot; change one field to break one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.signer import AuthorisationRequest, SignerError, SignerStatus
from tests.trust.orders import changed
from tests.trust.orders import make as make_order
from trust import root_file as roots
from trust import statement as statements
from trust.dsse import Envelope, Signature
from trust.identity import DeviceId, JobId
from trust.keys import PublicKey
from trust.lease import Lease
from trust.order import WorkOrder
from trust.order_check import check
from trust.pin_act import PinAct
from trust.proof import proof_message, report_message
from trust.rekey import PAYLOAD_TYPE as AUTHORISATION_TYPE
from trust.rekey import authorisation
from trust.revocation import Revocation
from trust.root import RegistryKeys, Root, StationKeys, TrustedRoot
from trust.statement import (
    Closing,
    Completion,
    Declared,
    PinStatement,
    Possession,
    Receipt,
    Statement,
    Verification,
    Vetting,
)

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
FIRMWARE = "5f" * 32
MADE_AT = "2026-11-22T20:00:00Z"


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """Slow to make, so shared by number within one test process."""
    return rsa.generate_private_key(65537, 2048)


def public(key: PrivateKey) -> PublicKey:
    return PublicKey.from_der(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def sign(key: PrivateKey, message: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def signed(statement: Statement, *keys: PrivateKey) -> Envelope:
    bare = statements.envelope(statement)
    return msgspec.structs.replace(
        bare, signatures=tuple(Signature(public(key).fingerprint, sign(key, bare.pae)) for key in keys)
    )


@dataclass(frozen=True, slots=True)
class StationSigner:
    """One station's keys by purpose."""

    pin: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    completion: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    log: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    client: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)
    account: ec.EllipticCurvePrivateKey = field(default_factory=ec_key)

    @property
    def keys(self) -> StationKeys:
        return StationKeys(
            **{name: public(getattr(self, name)).spki for name in ("pin", "completion", "log", "client", "account")}
        )


@dataclass(frozen=True, slots=True)
class Device:
    """A device as tests see it: id and private key."""

    key: PrivateKey = field(default_factory=ec_key)
    device_id: DeviceId = field(default_factory=lambda: DeviceId(JobId.new().raw[:12]))
    job: JobId = field(default_factory=JobId.new)

    def possession(self, context: str) -> Possession:
        challenge = JobId.new().raw * 2
        message = proof_message(self.device_id, context, challenge)
        return Possession(
            challenge=challenge, context=context, signatures=(sign(self.key, message), sign(self.key, message))
        )


@dataclass(frozen=True, slots=True)
class World:
    """Everything that agrees: root, two stations, the registry's receipt key, one order."""

    stations: dict[str, StationSigner]
    receipt_key: ec.EllipticCurvePrivateKey
    trusted: TrustedRoot
    order: WorkOrder

    @property
    def order_envelope(self) -> Envelope:
        return statements.envelope(self.order)

    def pin_statement(self, device: Device, **changes: Any) -> PinStatement:
        key = public(device.key)
        made = PinStatement(
            environment="demo", root_sha256=self.trusted.sha256, order_id=self.order.order_id,
            order_sha256=self.order_envelope.payload_sha256, order_signed=False, station="station-01", job=str(device.job),
            device_id=str(device.device_id), product=self.order.product, product_id=self.order.product_id,
            key_type=key.key_type.value, spki=key.spki, fingerprint=key.fingerprint, origin="generated", origin_proven=True,
            possession=device.possession("pin"), vetting=Vetting(verdict="ok", checks=("parameters",)),
            declared=Declared(
                hardware="emulated", firmware_version="1.0", firmware_sha256=FIRMWARE, debug_closed=True, readout_protected=True,
                key_storage="plain-flash", emulated=True,
            ),
            made_at=MADE_AT,
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def pin(self, device: Device, **changes: Any) -> Envelope:
        statement = self.pin_statement(device, **changes)
        return signed(statement, self.stations[statement.station].pin)

    def completion_statement(self, device: Device, pin: Envelope, receipt: Envelope, **changes: Any) -> Completion:
        report = changes.pop("report", None) or self.report(device)
        challenge = JobId.new().raw * 2
        made = Completion(
            environment="demo", root_sha256=self.trusted.sha256, order_id=self.order.order_id,
            order_sha256=self.order_envelope.payload_sha256, station="station-01", job=str(device.job),
            device_id=str(device.device_id), fingerprint=public(device.key).fingerprint, pin_sha256=pin.payload_sha256,
            receipt_sha256=receipt.payload_sha256, cloud_fingerprint=self.order.cloud.fingerprint,
            authority_fingerprint=self.order.authority.fingerprint, service=self.order.service, host=self.order.host,
            port=self.order.port, write_refused_after_lock=True, emulated=True, made_at=MADE_AT,
            verification=Verification(
                cycle="power-cycle", possession=device.possession("verify"), handshake="not-asked"
            ),
            closing=Closing(challenge=challenge, report=report, signature=sign(device.key, report_message(challenge, report))),
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    def completion(self, device: Device, pin: Envelope, receipt: Envelope, **changes: Any) -> Envelope:
        statement = self.completion_statement(device, pin, receipt, **changes)
        return signed(statement, self.stations[statement.station].completion)

    def report(self, device: Device, /, **changes: Any) -> bytes:
        """A closing report (docs/wire.md §4.6), written out here and not with the product's codec."""
        said: dict[str, Any] = {
            "device": device.device_id.raw, "job": device.job.raw, "own": public(device.key).fingerprint,
            "cloud": self.order.cloud.fingerprint, "authority": self.order.authority.fingerprint,
            "service": {"tcp": 0, "udp": 1}[self.order.service], "port": self.order.port, "host": self.order.host,
            "firmware": FIRMWARE, "locked": 1, "debug": 1, "readout": 1, "storage": 0, "emulated": 1,
        } | changes  # fmt: skip
        return (
            b"DREP\x01" + said["device"] + said["job"] + bytes.fromhex(said["own"] + said["cloud"] + said["authority"])
            + struct.pack(">BHB", said["service"], said["port"], len(said["host"])) + said["host"].encode()
            + bytes.fromhex(said["firmware"])
            + bytes([said["locked"], said["debug"], said["readout"], said["storage"], said["emulated"]])
        )  # fmt: skip

    def signer(self) -> SoftwareReceiptSigner:
        return SoftwareReceiptSigner(self.trusted, self.receipt_key)

    def with_order(self, **changes: Any) -> World:
        return replace(self, order=changed(self.order, **changes))


def world(
    *,
    environment: str = "demo",
    tls_root: bytes = b"",
    key_type: str = "ec-p256",
    receipt_spki: bytes | None = None,
    quantity: int = 1000,
    count: int = 2,
    **root_changes: Any,
) -> World:
    """One world with `count` stations; `root_changes` are further fields of its root."""
    stations = {f"station-{number:02}": StationSigner() for number in range(1, count + 1)}
    receipt_key = ec_key()
    root = Root(
        environment="demo", version=1, registry="registry-01", registry_url="https://localhost:8443", tls_root=tls_root,
        stations={name: each.keys for name, each in stations.items()},
        registry_keys=RegistryKeys(receipt=receipt_spki or public(receipt_key).spki),
    )  # fmt: skip
    root = msgspec.structs.replace(root, **root_changes)
    trusted = roots.parse(roots.wrap(root).to_json())
    order = make_order(
        trusted.sha256, stations, FIRMWARE, environment=environment, order_id="order-7", key_type=key_type,
        origins=("generated", "collected"), quantity=quantity,
    )  # fmt: skip
    check(order)
    return World(stations, receipt_key, trusted, order)


@dataclass(slots=True)
class SoftwareReceiptSigner:
    """Signs receipts, and leases, with keys in memory, fresh ECDSA bytes each time; `fault` is raised instead.

    `before` runs first.
    """

    trusted: TrustedRoot
    key: ec.EllipticCurvePrivateKey
    fault: Exception | None = None
    signatures: int = 0
    before: Callable[[], None] = lambda: None
    says: dict[str, Any] = field(default_factory=dict)
    lease_key: ec.EllipticCurvePrivateKey | None = None
    revocation_key: ec.EllipticCurvePrivateKey | None = None
    authority_key: ec.EllipticCurvePrivateKey | None = None

    def status(self) -> SignerStatus:
        if self.fault is not None:
            raise self.fault
        said = SignerStatus(
            role="cloud",
            name=self.trusted.root.registry,
            environment=self.trusted.root.environment,
            root_sha256=self.trusted.sha256,
            token_label="double",
            token_model="software",
            keys={"receipt": public(self.key).spki},
            signatures={"receipt": self.signatures},
            resigned=0,
        )
        return msgspec.structs.replace(said, **self.says)

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        self.before()
        if self.fault is not None:
            raise self.fault
        self.signatures += 1
        return signed(receipt, self.key)

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        found: list[Envelope | SignerError] = []
        for each in receipts:
            try:
                found.append(self.sign_receipt(each))
            except SignerError as error:
                found.append(error)
        return found

    def sign_lease(self, lease: Lease) -> Envelope:
        assert self.lease_key is not None, "this world wants no leases"
        self.before()
        if self.fault is not None:
            raise self.fault
        self.signatures += 1
        return signed(lease, self.lease_key)

    def sign_revocation(self, revocation: Revocation, act: Envelope) -> Envelope:
        assert self.revocation_key is not None, "this world revokes nothing"
        self.before()
        if self.fault is not None:
            raise self.fault
        self.signatures += 1
        return signed(revocation, self.revocation_key)

    def sign_authorisation(self, request: AuthorisationRequest) -> Envelope:
        """Verifies no approvals: the real one does (tests/hsm/test_sign_authorisation.py)."""
        assert self.authority_key is not None, "this world re-keys nothing"
        if self.fault is not None:
            raise self.fault
        self.signatures += 1
        act, nonce = statements.read(request.act, PinAct), bytes.fromhex(request.nonce)
        said = authorisation(request.act, act, request.step, nonce=nonce, new_fingerprint=request.new_fingerprint)
        bare = Envelope(said.encode(), AUTHORISATION_TYPE)
        signature = Signature(public(self.authority_key).fingerprint, sign(self.authority_key, bare.pae))
        return msgspec.structs.replace(bare, signatures=(signature,))
