"""Whether a work order makes sense in itself: keys, lists, handshakes, numbers. Pure; never asks who approved it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from types import MappingProxyType
from typing import Final

from trust.keys import KeyType, PublicKeyError
from trust.order import LEGACY, MAX_ORDER_BYTES, OrderError, WorkOrder
from trust.printable import quoted
from trust.statement import encode

_KEYS: Final = MappingProxyType(
    {"tcp": frozenset({KeyType.RSA_2048.value, KeyType.RSA_1024.value}), "udp": frozenset({KeyType.EC_P256.value})}
)
"""What a device's key must be for the handshake of each service."""


def check(order: WorkOrder) -> None:
    """Whether the order makes sense in itself; OrderError says what does not and what to do."""
    problem = (
        _problem_of_keys(order)
        or _problem_of_legacy(order)
        or _problem_of_lists(order)
        or _problem_of_handshakes(order)
        or _problem_of_numbers(order)
    )
    if problem is None and len(encode(order)) > MAX_ORDER_BYTES:
        problem = f"more than {MAX_ORDER_BYTES} bytes; shorten the lists of firmware and devices"
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


def _problem_of_legacy(order: WorkOrder) -> str | None:
    if (order.key_type == KeyType.RSA_1024.value) != (order.vetting == LEGACY):
        return f"key_type {KeyType.RSA_1024.value} and vetting {LEGACY} go together; correct one"
    if order.vetting == LEGACY and (order.service, order.origins) != ("tcp", ("collected",)):
        return f"vetting {LEGACY} is for keys that devices of a TCP service have already: correct service or origins"
    return None


def _problem_of_lists(order: WorkOrder) -> str | None:
    lists: dict[str, tuple[str, ...]] = {
        "origins": order.origins,
        "firmware": tuple(image.sha256 for image in order.firmware),
        "devices": order.devices,
        "handshakes": order.handshakes,
        "handshake_waivers": order.handshake_waivers,
    }
    for entry, values in lists.items():
        twice = sorted(value for value, count in Counter(values).items() if count > 1)
        if twice:
            return f"{entry} names {twice[0]} twice; name each once"
    if not order.firmware:
        return "firmware is empty, so no device could be made; list each image that is allowed"
    if "injected" in order.origins:
        return "origin 'injected' is not built yet; use generated or collected"
    return None


def _problem_of_handshakes(order: WorkOrder) -> str | None:
    if not order.handshakes and order.environment != "demo":
        text = "handshakes is empty, so nothing would show that device and cloud know each other"
        return f'{text}; write handshakes = ["{order.service}"]'
    if order.handshakes not in ((), (order.service,)):
        text = f"handshakes names {' and '.join(order.handshakes)}, and its devices know service {order.service}"
        return f'{text} alone; write handshakes = ["{order.service}"]'
    if order.handshakes and order.key_type not in _KEYS[order.service]:
        text = f"devices with {order.key_type} keys have no handshake over {order.service}"
        return f"{text}; correct key_type, or service and cloud_key"
    if order.handshake_waivers and not order.handshakes:
        return "handshake_waivers says what may stand for a handshake that is not asked for; correct one"
    return None


def _problem_of_numbers(order: WorkOrder) -> str | None:
    if order.quantity == 0:
        return "quantity is 0; say how many units are to be made"
    if not order.stations:
        return "stations is empty, so nobody could make it; allot it to one at least"
    for entry in ("quantity", "allowance"):
        allotted = sum(getattr(each, entry) for each in order.stations.values())
        if allotted > getattr(order, entry):
            return f"stations are allotted {entry} {allotted}, the order has {getattr(order, entry)}; correct one"
    try:
        begins, ends = datetime.fromisoformat(order.not_before), datetime.fromisoformat(order.not_after)
    except ValueError:
        return "not_before or not_after is no time that exists; correct it, such as 2026-01-31T06:00:00Z"
    return None if begins < ends else "not_after is not after not_before; correct one"
