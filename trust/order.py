"""Work orders: what may be made, how many, and what is written into devices.

`permits` is the one pure answer to "does this order allow this statement", used by signer, registry, flow and audit.
Never counts and never remembers: that is the signer's policy. Whether one makes sense in itself is `trust.order_check`,
how people write one `trust.order_file`, who must have approved one `trust.order_approval`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec

from trust.keys import PublicKey
from trust.statement import (
    Completion,
    Declared,
    DeviceHex,
    Hex32,
    KeyTypeName,
    Name,
    Origin,
    PinStatement,
    Statement,
    Text,
    Utc,
    Waiver,
)

LEGACY: Final = "legacy-rsa-1024"
MAX_ORDER_BYTES = 32_000  # it travels beside a pin statement in one request of 64 KiB: some 1,000 devices by name

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class OrderError(ValueError):
    """The order cannot be used; the text says which entry and what is expected."""


class Allotment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One station's part of an order: good units, and pin statements beyond them for losses."""

    quantity: Count
    allowance: Count = 0


class Firmware(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image that devices of the order may run: SHA-256 (hex), and what they must say of it, if anything is."""

    sha256: Hex32
    version: Text = ""
    platform: Text = ""


class SecurityState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a device must say of itself at the least; false asks for nothing."""

    debug_closed: bool = False
    readout_protected: bool = False

    def missing(self, *, debug_closed: bool, readout_protected: bool) -> str | None:
        """What is asked for and not so; None if all is."""
        if self.debug_closed and not debug_closed:
            return "its debug port is open"
        return "its memory can be read out" if self.readout_protected and not readout_protected else None


class WorkOrder(Statement, frozen=True, kw_only=True, tag="order"):
    """Body of a work order. Keys are DER SubjectPublicKeyInfo; without `devices` any device of the product may come.

    `offline_allowance`: units that may wait for the registry before the line stops. `vetting` "basic": parameters,
    duplicates and repeated nonces; "legacy-rsa-1024": the same for keys of 1,024 bits that its devices have
    already (docs/decisions/0040). `overlap_days`: how long an old key may stay good beside the one that follows it.
    `handshakes`: with which services each unit must complete a live one; `handshake_waivers`: what may stand for it.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.order.v1+json"
    order_id: Name
    product: Name
    product_id: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    family: Name
    key_type: KeyTypeName
    origins: Annotated[tuple[Origin, ...], msgspec.Meta(min_length=1)]
    unproven_origin: bool = False
    quantity: Count
    allowance: Count
    not_before: Utc
    not_after: Utc
    stations: dict[Name, Allotment]
    cloud_key: bytes
    authority_key: bytes
    service: Literal["tcp", "udp"]
    host: Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,63}\Z")]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    firmware: tuple[Firmware, ...]
    before_lock: SecurityState = SecurityState()
    after_lock: SecurityState = SecurityState()
    label: Literal["none"] = "none"
    vetting: Literal["basic", "legacy-rsa-1024"] = "basic"
    offline_allowance: Count = 1000
    devices: tuple[DeviceHex, ...] = ()
    overlap_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 30
    handshakes: Annotated[tuple[Literal["tcp", "udp"], ...], msgspec.Meta(max_length=2)]
    handshake_waivers: Annotated[tuple[Waiver, ...], msgspec.Meta(max_length=2)] = ()

    @property
    def cloud(self) -> PublicKey:
        """The key that the cloud's device service proves in the handshake."""
        return PublicKey.from_der(self.cloud_key)

    @property
    def authority(self) -> PublicKey:
        """The key that signs re-key authorisations only."""
        return PublicKey.from_der(self.authority_key)

    @property
    def firmware_hashes(self) -> frozenset[str]:
        """SHA-256 (hex) of each image that is allowed."""
        return frozenset(image.sha256 for image in self.firmware)

    def allotted(self, station: str) -> Allotment:
        """The station's part; nothing for one that the order does not name."""
        return self.stations.get(station, Allotment(quantity=0))


def window_problem(order: WorkOrder, at: datetime) -> str | None:
    """Why nothing is begun under the order at this time; None inside its window."""
    if at < datetime.fromisoformat(order.not_before):
        return f"it begins at {order.not_before}; wait until then, or correct the clock"
    if at > datetime.fromisoformat(order.not_after):
        return f"it ended at {order.not_after}; have a new order made"
    return None


def permits(order: WorkOrder, order_sha256: str, statement: PinStatement | Completion) -> str | None:
    """None if the order allows the statement, else the reason as a sentence."""
    for name, found, wanted in _common(order, order_sha256, statement):
        if found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r}"
    if statement.station not in order.stations:
        return f"station {statement.station!r} is not named by the order"
    if isinstance(statement, Completion):
        return _permits_completion(order, statement)
    return _permits_pin(order, statement)


def _common(
    order: WorkOrder, order_sha256: str, statement: PinStatement | Completion
) -> list[tuple[str, object, object]]:
    return [
        ("environment", statement.environment, order.environment),
        ("order id", statement.order_id, order.order_id),
        ("order hash", statement.order_sha256, order_sha256),
    ]


def _permits_pin(order: WorkOrder, pin: PinStatement) -> str | None:
    for name, found, wanted in [
        ("product", pin.product, order.product),
        ("product id", pin.product_id, order.product_id),
        ("key type", pin.key_type, order.key_type),
    ]:
        if found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r}"
    if not _within(order, pin.made_at):
        return f"the statement was made at {pin.made_at}, outside {order.not_before} to {order.not_after}"
    said = pin.declared
    return _origin_problem(order, pin) or device_problem(order, pin.device_id, said) or firmware_problem(order, said)


def _origin_problem(order: WorkOrder, pin: PinStatement) -> str | None:
    if pin.origin not in order.origins:
        return f"key origin {pin.origin!r} is not among {', '.join(order.origins)}"
    if not pin.origin_proven and not order.unproven_origin:
        return "the key's origin is not proven and the order does not allow that (unproven_origin)"
    return None


def device_problem(order: WorkOrder, device_id: str, said: Declared) -> str | None:
    """Why this device may not be keyed, by its id and the security state that it declares; None if it may."""
    if order.devices and device_id not in order.devices:
        return f"device {device_id} is not on the order's list"
    missing = order.before_lock.missing(debug_closed=said.debug_closed, readout_protected=said.readout_protected)
    return None if missing is None else f"the device may not be keyed like this: {missing}"


def _within(order: WorkOrder, made_at: str) -> bool:
    """Whether this time is in the window; a time that does not exist (the 13th month) is in none."""
    try:
        return window_problem(order, datetime.fromisoformat(made_at)) is None
    except ValueError:
        return False


def firmware_problem(order: WorkOrder, said: Declared) -> str | None:
    """Why a device with this firmware may not be keyed; None if it may."""
    image = next((each for each in order.firmware if each.sha256 == said.firmware_sha256), None)
    if image is None:
        return f"firmware {said.firmware_sha256[:16]}… is not on the order's list"
    for name, found, wanted in [
        ("firmware version", said.firmware_version, image.version),
        ("platform", said.hardware, image.platform),
    ]:
        if wanted and found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r} for {image.sha256[:16]}…"
    return None


def _permits_completion(order: WorkOrder, done: Completion) -> str | None:
    for name, found, wanted in [
        ("cloud key", done.cloud_fingerprint, order.cloud.fingerprint),
        ("authority key", done.authority_fingerprint, order.authority.fingerprint),
        ("service", done.service, order.service),
        ("host", done.host, order.host),
        ("port", done.port, order.port),
    ]:
        if found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r}"
    return None
