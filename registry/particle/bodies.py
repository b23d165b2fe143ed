"""Both bodies that Particle's clients send to POST /v1/provisioning/{id}, form and JSON, read into one value.

What clients add is left alone; what this door looks at must be text, once. Pure; no error quotes the body.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from registry.particle.keys import ALGORITHMS, holds_private, private_key_sent, public_key
from registry.particle.words import DENIED, ParticleError, bad_request
from trust.codes import Code
from trust.identity import DeviceId, IdentityError
from trust.keys import PublicKey
from trust.printable import printable

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
_MOST_FIELDS: Final = 32
_SHOWN: Final = 80  # characters of what a client calls its order and file
_PRODUCT: Final = re.compile(r"[0-9]{1,10}")
_KNOWN: Final = ("deviceID", "publicKey", "algorithm", "order", "filename", "product_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What a client asks for. `note` is what it says beside the key: shown to people, believed for nothing."""

    device: DeviceId
    key: PublicKey
    note: str


def read_proposed(path_id: str, content_type: str, body: bytes) -> Proposed:
    """The device and its key; ParticleError (400, 403)."""
    if holds_private(_as_text(body)):
        raise private_key_sent()  # before anything parses it, and in whatever field
    fields = _fields(content_type, body)
    device = read_device(path_id)
    _require_same(device, fields.get("deviceID"))
    key = public_key(fields.get("publicKey", ""), _algorithm(fields.get("algorithm")))
    return Proposed(device=device, key=key, note=_note(fields))


def _as_text(body: bytes) -> str:
    """Percent-encoded or not, as far as a PEM header goes."""
    return body.decode("latin-1").replace("%20", " ").replace("+", " ").replace("\\u0020", " ")


def _fields(content_type: str, body: bytes) -> Mapping[str, str]:
    match content_type.partition(";")[0].strip().lower():
        case kind if kind == FORM:
            pairs = _form(body)
        case kind if kind == JSON:
            pairs = _json(body)
        case _:
            raise bad_request("invalid_request", f"send {FORM} or {JSON}")
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in _KNOWN:
            continue
        if name in found:
            raise bad_request("invalid_request", f"{name} is there twice")
        found[name] = _text(name, value)
    if any(map(holds_private, found.values())):
        raise private_key_sent()
    return found


def _form(body: bytes) -> list[tuple[str, Any]]:
    try:
        return [*parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
                           max_num_fields=_MOST_FIELDS)]  # fmt: skip
    except ValueError:
        raise bad_request("invalid_request", "the body is not a form") from None


def _json(body: bytes) -> list[tuple[str, Any]]:
    try:
        found = json.loads(body, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise bad_request("invalid_request", "the body is not JSON") from None
    if not isinstance(found, tuple):
        raise bad_request("invalid_request", "the body is not a JSON object")
    return list(found)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise bad_request("invalid_request", f"{name} must be text")
    return str(value)


def read_device(path_id: str) -> DeviceId:
    """The device of a path; ParticleError (403) for a name."""
    try:
        return DeviceId.parse(path_id)
    except IdentityError:
        text = "this is not a device id, which has 24 hex digits; if it is the device's NAME, send its id"
        raise ParticleError(403, DENIED, Code.MALFORMED, text) from None


def _require_same(device: DeviceId, named: str | None) -> None:
    if named is not None and named.lower() != str(device):
        text = f"the path names device {device}, the body another one: send the same id in both"
        raise bad_request("device_id_mismatch", text)


def _algorithm(named: str | None) -> str | None:
    if named is not None and named not in ALGORITHMS:
        raise bad_request("invalid_request", f"algorithm is one of {', '.join(sorted(ALGORITHMS))}")
    return named


def _note(fields: Mapping[str, str]) -> str:
    product = fields.get("product_id", "")
    if product and not _PRODUCT.fullmatch(product):
        raise bad_request("invalid_request", "product_id is a number")
    said = (("order", fields.get("order")), ("file", fields.get("filename")), ("product", product))
    return ", ".join(f"{name} {printable(value, _SHOWN)}" for name, value in said if value)
