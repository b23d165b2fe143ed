"""The trust root: the one document that names trusted keys. No other setting can.

Read from a file given at start; its fingerprint stands in every statement and is shown by `station check`.
In environment `demo` it is an envelope without signatures, made by the demo itself. Never fetched, never merged.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from trust.dsse import Envelope
from trust.keys import PublicKey, PublicKeyError
from trust.printable import printable
from trust.statement import Name, Text

_QUOTED = 300  # characters of a decoder's words, which quote foreign keys


class RootError(ValueError):
    """The root cannot be used; the text says why and what to do."""


class StationKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A station's signer keys by purpose (DER SubjectPublicKeyInfo). `log` is ECDSA P-256 or Ed25519."""

    pin: bytes
    completion: bytes
    log: bytes
    client: bytes


class RegistryKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry's keys by purpose."""

    receipt: bytes


class Root(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="root"):
    """Who is trusted for what in one environment. `tls_root` is a DER certificate."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    environment: Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    registry: Name
    registry_url: Text
    tls_root: bytes
    stations: dict[str, StationKeys]
    registry_keys: RegistryKeys

    def station(self, name: str) -> StationKeys:
        """One station's keys; RootError if the root does not know it."""
        if name not in self.stations:
            known = printable(", ".join(sorted(self.stations)), _QUOTED)
            raise RootError(f"station {name!r} is not in the trust root (known: {known})")
        return self.stations[name]

    def pin_key(self, station: str) -> PublicKey:
        """The key whose signature makes a pin statement of that station."""
        return _key(self.station(station).pin)

    def completion_key(self, station: str) -> PublicKey:
        """The key whose signature makes a completion of that station."""
        return _key(self.station(station).completion)

    def log_origin(self, station: str) -> str:
        """The origin line, and key name, of a station's log (C2SP tlog-checkpoint)."""
        return f"{self.environment}/{station}/log"

    @property
    def receipt_key(self) -> PublicKey:
        """The key whose signature makes a receipt."""
        return _key(self.registry_keys.receipt)


ROOT_TYPE = "application/vnd.keystation.root.v1+json"


class TrustedRoot(msgspec.Struct, frozen=True):
    """A root and the SHA-256 of its payload, which statements carry."""

    root: Root
    sha256: str


def wrap(root: Root) -> Envelope:
    """The root as an unsigned envelope (environment `demo`)."""
    return Envelope(msgspec.json.encode(root, order="sorted"), ROOT_TYPE)


def parse(data: bytes) -> TrustedRoot:
    """From the root file's bytes; RootError for anything that is not a usable root.

    Signed roots (threshold of the previous version) come with the trust-root work; until then only `demo` is taken.
    """
    try:
        wrapped = Envelope.from_json(data.strip())
        root = msgspec.json.decode(wrapped.payload, type=Root)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise RootError(f"not a trust root: {printable(str(error), _QUOTED)}") from error
    if wrapped.payload_type != ROOT_TYPE or msgspec.json.encode(root, order="sorted") != wrapped.payload:
        raise RootError("not a trust root: wrong type or not in canonical form")
    if root.environment != "demo":
        raise RootError(f"an unsigned root is taken in environment 'demo' only, not in {root.environment!r}")
    return TrustedRoot(root, wrapped.payload_sha256)


def _key(spki: bytes) -> PublicKey:
    try:
        return PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise RootError(f"trust root holds a key that cannot be used: {error}") from error
