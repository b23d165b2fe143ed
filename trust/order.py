"""Work orders: what may be made, how many, and what is written into devices.

`permits` is the one pure answer to "does this order allow this statement", used by signer, registry, flow and audit.
Never counts and never remembers: that is the signer's policy. How people write one is `trust.order_file`.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

import msgspec

from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.printable import quoted
from trust.statement import Completion, Hex32, KeyTypeName, Name, Origin, PinStatement, Statement, encode

MAX_ORDER_BYTES = 32_000  # it travels beside a pin statement in one request of 64 KiB

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class OrderError(ValueError):
    """The order cannot be used; the text says which entry and what is expected."""


class WorkOrder(Statement, frozen=True, kw_only=True, tag="order"):
    """Body of a work order. Keys are DER SubjectPublicKeyInfo; `firmware` lists SHA-256 of allowed images (hex)."""

    PAYLOAD_TYPE = "application/vnd.keystation.order.v1+json"
    order_id: Name
    product: Name
    product_id: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    key_type: KeyTypeName
    origins: Annotated[tuple[Origin, ...], msgspec.Meta(min_length=1)]
    unproven_origin: bool = False
    quantity: Count
    allowance: Count
    stations: tuple[Name, ...]
    cloud_key: bytes
    authority_key: bytes
    service: Literal["tcp", "udp"]
    host: Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,63}\Z")]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    firmware: tuple[Hex32, ...]
    handshake_waiver: Literal["not-built"]

    @property
    def cloud(self) -> PublicKey:
        """The key that the cloud's device service proves in the handshake."""
        return PublicKey.from_der(self.cloud_key)

    @property
    def authority(self) -> PublicKey:
        """The key that signs re-key authorisations only."""
        return PublicKey.from_der(self.authority_key)


def check(order: WorkOrder) -> None:
    """Whether the order makes sense in itself; OrderError says what does not and what to do."""
    problem = _problem_of_keys(order) or _problem_of_lists(order)
    if problem is None and len(encode(order)) > MAX_ORDER_BYTES:
        problem = f"more than {MAX_ORDER_BYTES} bytes; shorten the list of firmware"
    if problem is None and order.quantity == 0:
        problem = "quantity is 0; say how many units are to be made"
    if problem is not None:
        raise OrderError(f"order {order.order_id}: {problem}")


def _problem_of_keys(order: WorkOrder) -> str | None:
    try:
        cloud, authority = order.cloud, order.authority
    except PublicKeyError as error:
        return f"{quoted(error)}; have it made with keys of the cloud's signer"
    wanted = KeyType.RSA_2048 if order.service == "tcp" else KeyType.EC_P256
    if cloud.key_type is not wanted:
        return f"service {order.service} takes a cloud key of type {wanted.value}; correct service or cloud_key"
    if authority.key_type is not KeyType.EC_P256:
        return "the authority key must be ec-p256; correct authority_key"
    if authority.spki == cloud.spki:
        return "authority key and cloud key must be different keys; correct the one that is wrong"
    return None


def _problem_of_lists(order: WorkOrder) -> str | None:
    lists: dict[str, tuple[str, ...]] = {
        "origins": order.origins,
        "stations": order.stations,
        "firmware": order.firmware,
    }
    for entry, values in lists.items():
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            return f"{entry} names {twice[0]} twice; name each once"
    if not order.firmware:
        return "firmware is empty, so no device could be made; list the SHA-256 of each image that is allowed"
    if "injected" in order.origins:
        return "origin 'injected' is not built yet; use generated or collected"
    return None


def permits(order: WorkOrder, order_sha256: str, statement: PinStatement | Completion) -> str | None:
    """None if the order allows the statement, else the reason as a sentence."""
    for name, found, wanted in _common(order, order_sha256, statement):
        if found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r}"
    if order.stations and statement.station not in order.stations:
        return f"station {statement.station!r} is not named by the order"
    if isinstance(statement, Completion):
        return _permits_completion(order, statement)
    return _permits_pin(order, statement)


def _common(
    order: WorkOrder, order_sha256: str, statement: PinStatement | Completion
) -> list[tuple[str, object, object]]:
    return [
        ("environment", statement.environment, order.environment),
        ("root", statement.root_sha256, order.root_sha256),
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
    if pin.origin not in order.origins:
        return f"key origin {pin.origin!r} is not among {', '.join(order.origins)}"
    if not pin.origin_proven and not order.unproven_origin:
        return "the key's origin is not proven and the order does not allow that (unproven_origin)"
    if pin.declared.firmware_sha256 not in order.firmware:
        return f"firmware {pin.declared.firmware_sha256[:16]}… is not on the order's list"
    return None


def _permits_completion(order: WorkOrder, done: Completion) -> str | None:
    for name, found, wanted in [
        ("cloud key", done.cloud_fingerprint, order.cloud.fingerprint),
        ("authority key", done.authority_fingerprint, order.authority.fingerprint),
        ("service", done.service, order.service),
        ("host", done.host, order.host),
        ("port", done.port, order.port),
        ("handshake waiver", done.verification.handshake_waiver, order.handshake_waiver),
    ]:
        if found != wanted:
            return f"{name} is {found!r}, the order says {wanted!r}"
    return None
