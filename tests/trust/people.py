"""People who approve, for tests: real keys made on the spot, roots that name them, and their signatures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.trust.documents import ec_key, root, spki
from trust.approval import Approver, Role, approved
from trust.dsse import Envelope, Signature
from trust.keys import PublicKey
from trust.root import CloudKeys, Root, TrustedRoot
from trust.root_file import parse, wrap

ROLES: dict[str, tuple[Role, ...]] = {
    "ada": ("officer",),
    "ben": ("officer",),
    "cleo": ("officer",),
    "pia": ("product-owner",),
    "quinn": ("quality",),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with roles and a private key."""

    name: str
    roles: tuple[Role, ...]
    key: ec.EllipticCurvePrivateKey

    @property
    def approver(self) -> Approver:
        return Approver(roles=self.roles, keys=(spki(self.key),))

    def signature(self, envelope: Envelope) -> Signature:
        """Theirs over this document."""
        return signature(self.key, envelope)


def person(name: str, *roles: Role) -> Person:
    return Person(name, roles, ec_key())


def people() -> dict[str, Person]:
    """Three officers, a product owner and somebody from quality."""
    return {name: person(name, *roles) for name, roles in ROLES.items()}


def approvers(who: Iterable[Person]) -> dict[str, Approver]:
    return {each.name: each.approver for each in who}


def signature(key: ec.EllipticCurvePrivateKey, envelope: Envelope) -> Signature:
    keyid = PublicKey.from_der(spki(key)).fingerprint
    return Signature(keyid, key.sign(envelope.pae, ec.ECDSA(hashes.SHA256())))


def approved_by(envelope: Envelope, *who: Person) -> Envelope:
    """The envelope with one signature more of each of them."""
    for each in who:
        envelope = approved(envelope, each.signature(envelope))
    return envelope


def with_signatures(envelope: Envelope, *signatures: Signature) -> Envelope:
    """The envelope with exactly these, in the order of their key ids."""
    ordered = tuple(sorted(signatures, key=lambda each: each.keyid))
    return msgspec.structs.replace(envelope, signatures=ordered)


def first_root(who: Iterable[Person], **changes: Any) -> Root:
    """Version 1 of a site's root that names these people."""
    plain = msgspec.structs.replace(root(), environment="plant-a", approvers=approvers(who))
    return msgspec.structs.replace(plain, **changes)


def next_root(before: Root, envelope: Envelope, **changes: Any) -> Root:
    """The version after this one."""
    following = {"version": before.version + 1, "previous_sha256": envelope.payload_sha256}
    return msgspec.structs.replace(before, **{**following, **changes})


def file_of(*lines: Envelope) -> bytes:
    return b"".join(line.to_json() + b"\n" for line in lines)


def signed_root(who: dict[str, Person], *, cloud_keys: CloudKeys, **changes: Any) -> TrustedRoot:
    """One version, approved by the officers `ada` and `ben`, that names these keys for devices."""
    made = first_root(who.values(), cloud_keys=cloud_keys, **changes)
    return parse(file_of(approved_by(wrap(made), who["ada"], who["ben"])))
