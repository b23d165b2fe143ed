"""Work orders: what may be made, how many, and what is written into devices.

`permits` is the one pure answer to "does this order allow this statement", used by signer, registry and, as a courtesy,
station. Never counts and never remembers: that is the signer's policy.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec

from trust.dsse import Envelope
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.printable import printable
from trust.statement import Completion, Hex32, KeyTypeName, Name, Origin, PinStatement, Statement, encode, envelope

MAX_ORDER_BYTES = 32_000  # it travels beside a pin statement in one request of 64 KiB
MAX_FILE_BYTES = 65_536  # a plain TOML file: the order, with room for comments
_MAX_DOTS = 256  # on one line: the parser's time and memory grow with the square of a key's parts

_QUOTED = 300  # characters of a decoder's words, which quote foreign keys
_SET_HERE = frozenset({"environment", "root_sha256", "type", "v"})  # by the reader of the file, never by the file
_CORRECT = "correct the order file, then read it again"

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


def from_toml(text: str | bytes, *, environment: str, root_sha256: str) -> Envelope:
    """A plain TOML order (bytes are UTF-8) as an envelope without signatures, for environment `demo` only.

    Keys are given as PEM. Raises OrderError naming the entry, and nothing else, whatever the file holds.
    """
    if environment != "demo":
        raise OrderError(
            f"a plain TOML order is taken in environment 'demo' only, not in {environment!r}: have it signed"
        )
    table = _table(text)
    _require_own_entries(table)
    ours = {"environment": environment, "root_sha256": root_sha256, "v": 1, "type": "order"}
    try:
        order = msgspec.convert({**table, **_keys(table), **ours}, WorkOrder, strict=True)
    except msgspec.ValidationError as error:
        raise OrderError(f"order: {printable(str(error), _QUOTED)}; {_CORRECT}") from error
    check(order)
    return envelope(order)


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
        return f"{printable(str(error), _QUOTED)}; have it made with keys of the cloud's signer"
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


def _table(text: str | bytes) -> dict[str, Any]:
    if len(text) > MAX_FILE_BYTES:
        size = f"{len(text)} bytes" if isinstance(text, bytes) else f"{len(text)} characters"
        raise OrderError(f"order file of {size}, at most {MAX_FILE_BYTES} are taken; give the order's file")
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise OrderError("order is not UTF-8 text; save the file as UTF-8, then read it again") from error
    if any(line.count(".") > _MAX_DOTS for line in text.split("\n")):  # TOML knows no other end of a line
        raise OrderError(f"order has a line with more than {_MAX_DOTS} dots; {_CORRECT}")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise OrderError(f"order is not one flat TOML table: nested too deeply; {_CORRECT}") from error
    except ValueError as error:  # TOMLDecodeError, and what int() says of a number with thousands of digits
        raise OrderError(f"order is not TOML: {printable(str(error), _QUOTED)}; {_CORRECT}") from error


def _require_own_entries(table: dict[str, Any]) -> None:
    """Refuse what the reader sets, so that a file cannot seem to say where it belongs, and what no order has."""
    for name in sorted(table):
        shown = printable(name, _QUOTED)
        if name in _SET_HERE:
            raise OrderError(f"order entry `{shown}`: the station says this itself; take the entry out of the file")
        if name not in WorkOrder.__struct_fields__:
            raise OrderError(f"order: unknown field `{shown}`; take it out of the file or correct its spelling")


def _keys(table: dict[str, Any]) -> dict[str, bytes]:
    keys = {}
    for name in ("cloud_key", "authority_key"):
        pem = table.get(name)
        if not isinstance(pem, str):
            raise OrderError(f"order entry {name}: expected a PEM public key as text; {_CORRECT}")
        try:
            keys[name] = PublicKey.from_pem(pem).spki
        except PublicKeyError as error:
            raise OrderError(f"order entry {name}: {printable(str(error), _QUOTED)}; {_CORRECT}") from error
    return keys
