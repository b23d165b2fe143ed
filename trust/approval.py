"""Approvals: who, of the people that the trust root names, has signed exactly these bytes.

Roots, orders, acts and minutes are approved alike: one ES256 signature a person in the document's own envelope, so that
each can be checked with bare `openssl dgst -verify` (docs/statements.md). Pure; never signs, never remembers whether an
approval was used, and takes no signature that is not somebody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated, Final, Literal

import msgspec

from trust.dsse import Envelope, Signature
from trust.keys import PublicKey, PublicKeyError
from trust.printable import counted, quoted
from trust.statement import Name

Role = Literal["product-owner", "quality", "officer"]
"""What somebody decides: what is made, whether it is good, and who is trusted (officers: root, acts, ceremony)."""

MAX_APPROVALS = 16
ORDER_ROLES: Final[tuple[Role, ...]] = ("product-owner", "quality")


class ApprovalError(ValueError):
    """The approvals do not hold, or are too few; the text says which and what is wanted."""


class Approver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person: what they decide, and the keys that are theirs (DER SubjectPublicKeyInfo, EC P-256)."""

    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]
    keys: Annotated[tuple[bytes, ...], msgspec.Meta(min_length=1, max_length=4)]


Approvers = Mapping[Name, Approver]


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's verified signature over a document."""

    person: str
    roles: frozenset[Role]


def approvals(envelope: Envelope, approvers: Approvers) -> tuple[Approval, ...]:
    """Who approved; ApprovalError when a signature is nobody's, does not hold, or is a person's or key's second."""
    if len(envelope.signatures) > MAX_APPROVALS:
        raise ApprovalError(f"{len(envelope.signatures)} signatures: at most {MAX_APPROVALS} are taken")
    named = [each.keyid for each in envelope.signatures]
    if sorted(set(named)) != named:
        raise ApprovalError("signatures must stand in the order of their key ids, each key once")
    owners = {_key(spki).fingerprint: (person, spki) for person, each in approvers.items() for spki in each.keys}
    found: list[Approval] = []
    for each in envelope.signatures:
        person, key = _signer_of(each, owners)
        if not key.verifies(each.sig, envelope.pae):
            raise ApprovalError(f"the signature of {person} is not over this document: have it approved again")
        if any(other.person == person for other in found):
            raise ApprovalError(f"{person} approved twice: approvals must be of different people")
        found.append(Approval(person, frozenset(approvers[person].roles)))
    return tuple(found)


def require_roles(given: Sequence[Approval], wanted: Iterable[Role], *, at_least: int) -> None:
    """Each wanted role by a person of its own, and so many people in all; ApprovalError says who is missing."""
    wanted = tuple(wanted)
    relevant = [each for each in given if each.roles & set(wanted)]
    if len(relevant) < len(given):
        idle = next(each.person for each in given if not each.roles & set(wanted))
        raise ApprovalError(f"{idle} has none of the roles that approve this ({_listed(wanted)})")
    if not any(
        all(role in each.roles for role, each in zip(wanted, chosen, strict=True))
        for chosen in permutations(relevant, len(wanted))
    ):
        raise ApprovalError(f"approved by {_names(given)}: {_listed(wanted)} are wanted, of different people")
    if len(relevant) < at_least:
        raise ApprovalError(f"approved by {_names(given)}: {at_least} people are wanted")


def require_officers(given: Sequence[Approval], *, at_least: int, whose: str) -> None:
    """So many different officers; `whose` begins the sentence. Approvals of others do not count. ApprovalError."""
    officers = [each for each in given if "officer" in each.roles]
    if len(officers) < at_least:
        raise ApprovalError(f"{whose}: {_names(officers)}: {at_least} are wanted")


def officers_missing(given: Sequence[Approval], *, at_least: int) -> str:
    """How many more officers are wanted, for people; empty when there are enough."""
    left = at_least - sum("officer" in each.roles for each in given)
    return "" if left <= 0 else counted(left, "more officer")


def roles_missing(given: Sequence[Approval], wanted: Sequence[Role], *, at_least: int) -> str:
    """Which roles, or how many more people, are wanted besides these, for people; empty when there are enough."""
    relevant = [each for each in given if each.roles & set(wanted)]
    most = max(
        (tuple(role for role, each in zip(wanted, chosen, strict=True) if each is not None and role in each.roles)
         for chosen in permutations([*relevant, *(None for _ in wanted)], len(wanted))),
        key=len,
    )  # fmt: skip
    missing = tuple(role for role in wanted if role not in most)
    left = at_least - len(relevant) - len(missing)
    more = f"{counted(left, 'more person', 'more people')} of these roles" if left > 0 else ""
    return " and ".join(each for each in (_listed(missing), more) if each)


def having(approvers: Approvers, *roles: Role) -> Approvers:
    """Those who have one of these roles at least."""
    return {name: each for name, each in approvers.items() if set(each.roles) & set(roles)}


def require_known(envelope: Envelope, *approvers: Approvers) -> None:
    """Every signature is of a key that one of these lists names; ApprovalError."""
    known = {_key(spki).fingerprint for each in approvers for person in each.values() for spki in person.keys}
    for each in envelope.signatures:
        if each.keyid not in known:
            raise _nobodys(each.keyid)


def of_these(envelope: Envelope, approvers: Approvers) -> Envelope:
    """The envelope with the signatures of these people's keys only."""
    known = {_key(spki).fingerprint for person in approvers.values() for spki in person.keys}
    kept = tuple(each for each in envelope.signatures if each.keyid in known)
    return msgspec.structs.replace(envelope, signatures=kept)


def approved(envelope: Envelope, signature: Signature) -> Envelope:
    """The envelope with one more signature, in its place; an older one of the same key is replaced."""
    others = [each for each in envelope.signatures if each.keyid != signature.keyid]
    ordered = sorted([*others, signature], key=lambda each: each.keyid)
    return msgspec.structs.replace(envelope, signatures=tuple(ordered))


def _signer_of(signature: Signature, owners: Mapping[str, tuple[str, bytes]]) -> tuple[str, PublicKey]:
    if signature.keyid not in owners:
        raise _nobodys(signature.keyid)
    person, spki = owners[signature.keyid]
    return person, _key(spki)


def _nobodys(keyid: str) -> ApprovalError:
    text = f"key {quoted(keyid)[:16]}… is no approver's of this trust root"
    return ApprovalError(f"{text}: have it approved by people whom the root names")


def _key(spki: bytes) -> PublicKey:
    try:
        return PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise ApprovalError(f"an approver's key cannot be used: {error}") from error


def _names(given: Sequence[Approval]) -> str:
    return ", ".join(each.person for each in given) or "nobody"


def _listed(roles: Sequence[Role]) -> str:
    return " and ".join(roles)
