"""The trust root: the one document that names trusted keys. No other setting can.

Statements carry the hash of the version that they were made under. Which version somebody has taken up already is
theirs to keep; `must_follow` judges it. How a root's file is read and approved is `trust.root_file`. Pure; never
fetched, never merged.
"""

from __future__ import annotations

from itertools import chain
from typing import Annotated

import msgspec

from trust.approval import Approver
from trust.keys import PublicKey, PublicKeyError
from trust.printable import quoted
from trust.statement import MaybeHex32, Name

MAX_VERSION = 1000  # so many lines a file has at most
REMEDY = "give the root file that was made for this environment"
Url = Annotated[str, msgspec.Meta(pattern=r"\Ahttps://[!-~]{1,192}\Z")]
Threshold = Annotated[int, msgspec.Meta(ge=2, le=16)]


class RootError(ValueError):
    """The root cannot be used; the text says why and what to do."""


class StationKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A station's signer keys by purpose (DER SubjectPublicKeyInfo). `log` is ECDSA P-256 or Ed25519."""

    pin: bytes
    completion: bytes
    log: bytes
    client: bytes
    account: bytes


class RegistryKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The registry's keys by purpose. An empty one: nothing of this kind is taken from anybody."""

    receipt: bytes
    revocation: bytes = b""
    lease: bytes = b""
    roster: bytes = b""
    log: bytes = b""


class CloudKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that orders may have written into devices, and the device service's key for handshake reports."""

    device_service: tuple[bytes, ...] = ()
    authority: tuple[bytes, ...] = ()
    handshake: bytes = b""


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many different people approve: the next root, an order, a break-glass act."""

    root: Threshold = 2
    order: Threshold = 2
    act: Threshold = 2


class LeaseTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one lease grants a signer at most: pin statements, and days. A copied signer does no more than that."""

    units: Annotated[int, msgspec.Meta(ge=1, le=500)] = 500
    days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 7


class Root(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="root"):
    """Who is trusted for what in one environment. `tls_root` is a DER certificate, empty where nobody uses TLS.

    `soft_tokens`: whether signers on SoftHSM are taken outside `demo`.
    """

    v: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    environment: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_VERSION)]
    previous_sha256: MaybeHex32 = ""
    registry: Name
    registry_url: Url
    tls_root: bytes
    soft_tokens: bool = False
    lease: LeaseTerms = LeaseTerms()
    approvers: dict[Name, Approver] = {}
    thresholds: Thresholds = Thresholds()
    stations: dict[Name, StationKeys]
    registry_keys: RegistryKeys
    cloud_keys: CloudKeys = CloudKeys()
    witnesses: dict[Name, bytes] = {}

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

    def account_key(self, station: str) -> PublicKey:
        """The key whose signature makes that station's signer's accounts: lease requests, returns, balances."""
        return _key(self.station(station).account)

    def log_origin(self, station: str) -> str:
        """The origin line, and key name, of a station's log (C2SP tlog-checkpoint)."""
        return f"{self.environment}/{station}/log"

    @property
    def receipt_key(self) -> PublicKey:
        """The key whose signature makes a receipt."""
        return _key(self.registry_keys.receipt)

    @property
    def lease_key(self) -> PublicKey | None:
        """The key whose signature makes a lease; None where leases are not taken."""
        return _key(self.registry_keys.lease) if self.registry_keys.lease else None

    @property
    def roster_key(self) -> PublicKey | None:
        """The key whose signature makes a roster; None where none is taken."""
        return _key(self.registry_keys.roster) if self.registry_keys.roster else None

    @property
    def revocation_key(self) -> PublicKey | None:
        """The key whose signature makes a revocation; None where none is taken."""
        return _key(self.registry_keys.revocation) if self.registry_keys.revocation else None


class TrustedRoot(msgspec.Struct, frozen=True):
    """The newest version of a root, the SHA-256 of its payload, and the versions before it, oldest first."""

    root: Root
    sha256: str
    earlier: tuple[tuple[str, Root], ...] = ()
    signed: bool = False

    def __hash__(self) -> int:
        """Equal roots have one hash of their payload."""
        return hash(self.sha256)

    def knows(self, sha256: str) -> bool:
        """Whether this is the hash of the newest version or of one before it."""
        return sha256 == self.sha256 or any(sha256 == each for each, _ in self.earlier)

    def at(self, sha256: str) -> Root:
        """The version with this hash, for who judges what was made under it long ago; RootError."""
        for known, root in chain([(self.sha256, self.root)], self.earlier):
            if known == sha256:
                return root
        raise RootError(f"trust root {sha256[:16]}… is none of the versions of this one")

    def as_of(self, sha256: str) -> TrustedRoot:
        """The root when the version with this hash was its newest, for who judges what was taken then; RootError."""
        newest = self.at(sha256)
        return TrustedRoot(newest, sha256, self.earlier[: newest.version - 1], signed=self.signed)

    def is_recent(self, sha256: str) -> bool:
        """Whether this is the hash of the newest version, or of the one before it."""
        return sha256 in {self.sha256, *(each for each, _ in self.earlier[-1:])}

    def since(self, sha256: str) -> tuple[Root, ...]:
        """The version with this hash and those after it, oldest first; RootError."""
        first = self.at(sha256)
        return tuple(root for _, root in (*self.earlier, (self.sha256, self.root)) if root.version >= first.version)


class Seen(msgspec.Struct, frozen=True):
    """The newest version of a root that somebody has taken up, which must never go back."""

    version: int
    sha256: str


def must_follow(trusted: TrustedRoot, seen: Seen | None) -> bool:
    """Whether the root is newer than what was seen; RootError when it is older, or not the same one gone on."""
    if seen is None:
        return True
    if trusted.root.version < seen.version:
        text = f"trust root of version {trusted.root.version}: version {seen.version} was taken up here already"
        raise RootError(f"{text}; {REMEDY}, the newest")
    chain_of = [*(each for each, _ in trusted.earlier), trusted.sha256]
    if chain_of[seen.version - 1] != seen.sha256:
        text = f"trust root: its version {seen.version} is not the one ({seen.sha256[:16]}…) that was taken up here"
        raise RootError(f"{text}; {REMEDY}, and find out who made this one")
    return trusted.root.version > seen.version


def _key(spki: bytes) -> PublicKey:
    try:
        return PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise RootError(f"trust root holds a key that cannot be used: {error}; {REMEDY}") from error
