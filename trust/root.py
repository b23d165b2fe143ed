"""The trust root: the one document that names trusted keys. No other setting can.

Read from a file given at start; its fingerprint stands in every statement and is shown by `station check`.
In environment `demo` it is an envelope without signatures, made by the demo itself. Never fetched, never merged.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from cryptography import x509

from trust.dsse import Envelope
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.printable import quoted
from trust.signed_note import NoteError, NoteKey
from trust.statement import Name

MAX_VERSION = 2**53 - 1  # what every JSON reader takes exactly (RFC 8259 §6)
_REMEDY = "give the root file that was made for this environment"
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps://[!-~]{1,192}\Z")]


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
    """Who is trusted for what in one environment. `tls_root` is a DER certificate, empty where nobody uses TLS."""

    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    environment: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    registry: Name
    registry_url: Url
    tls_root: bytes
    stations: dict[Name, StationKeys]
    registry_keys: RegistryKeys

    def station(self, name: str) -> StationKeys:
        """One station's keys; RootError if the root does not know it."""
        if name not in self.stations:
            known = quoted(", ".join(sorted(self.stations)))
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
    """From the root file's bytes; RootError, and nothing else, for anything that is not a usable root.

    Every key in it is read here: one that cannot be used is found at start, not at its first use.
    Signed roots (threshold of the previous version) come with the trust-root work; until then only `demo` is taken.
    """
    try:
        wrapped = Envelope.from_json(data.strip())
        root = msgspec.json.decode(wrapped.payload, type=Root)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise RootError(f"not a trust root: {quoted(error)}; {_REMEDY}") from error
    if wrapped.payload_type != ROOT_TYPE or msgspec.json.encode(root, order="sorted") != wrapped.payload:
        raise RootError(f"not a trust root: wrong type or not in canonical form; {_REMEDY}")
    if root.environment != "demo":
        raise RootError(f"an unsigned root is taken in environment 'demo' only, not in {root.environment!r}; {_REMEDY}")
    if wrapped.signatures:
        raise RootError(f"this root carries signatures, which are not looked at yet; {_REMEDY}")
    _require_usable(root)
    return TrustedRoot(root, wrapped.payload_sha256)


def _require_usable(root: Root) -> None:
    """Each key parses and is of the kind that its purpose signs with, and the certificate is one."""
    for name, keys in root.stations.items():
        for purpose in ("pin", "completion", "client"):
            _require_es256(getattr(keys, purpose), f"{name}'s {purpose} key")
        try:
            NoteKey(root.log_origin(name), keys.log)
        except NoteError as error:
            raise RootError(f"trust root: {name}'s log key cannot be used: {quoted(error)}; {_REMEDY}") from error
    _require_es256(root.registry_keys.receipt, "the registry's receipt key")
    try:
        if root.tls_root:
            x509.load_der_x509_certificate(root.tls_root)
    except ValueError as error:
        raise RootError(f"trust root: tls_root is not one DER certificate: {quoted(error)}; {_REMEDY}") from error


def _require_es256(spki: bytes, whose: str) -> None:
    """Statements are signed with ECDSA P-256 (docs/statements.md)."""
    try:
        key_type = PublicKey.from_der(spki).key_type
    except PublicKeyError as error:
        raise RootError(f"trust root: {whose} cannot be used: {quoted(error)}; {_REMEDY}") from error
    if key_type is not KeyType.EC_P256:
        raise RootError(f"trust root: {whose} is {key_type.value}, ec-p256 is wanted; {_REMEDY}")


def _key(spki: bytes) -> PublicKey:
    try:
        return PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise RootError(f"trust root holds a key that cannot be used: {error}; {_REMEDY}") from error
