"""A trust root's file: every version, oldest first, one DSSE envelope a line.

Each version is approved by a threshold of officers of the version before it, and of its own, so that nobody is locked
out (docs/decisions/0019). In environment `demo` one version without signatures will do. Pure: bytes in, root out; opens
no file, and never says whether the root is the newest there is.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from cryptography import x509

from trust.approval import (
    ORDER_ROLES,
    Approval,
    ApprovalError,
    approvals,
    of_these,
    require_known,
    require_officers,
    require_roles,
)
from trust.dsse import Envelope
from trust.keys import KeyType, PublicKey, PublicKeyError
from trust.printable import quoted
from trust.root import MAX_VERSION, REMEDY, Root, RootError, TrustedRoot
from trust.signed_note import NoteError, NoteKey

ROOT_TYPE = "application/vnd.keystation.root.v1+json"


def wrap(root: Root) -> Envelope:
    """The root as an unsigned envelope."""
    return Envelope(msgspec.json.encode(root, order="sorted"), ROOT_TYPE)


def parse(data: bytes) -> TrustedRoot:
    """From the root file's bytes; RootError, and nothing else, for anything that is not a usable root.

    Every key in it is read here: one that cannot be used is found at start, not at its first use.
    """
    lines = versions(data)
    if len(lines) == 1 and not lines[0][0].signatures:
        _require_demo(lines[0][1])
        require_next(lines[0][1], None)
    else:
        _require_chain(lines)
    *earlier, (newest, root) = lines
    before = tuple((envelope.payload_sha256, each) for envelope, each in earlier)
    return TrustedRoot(root, newest.payload_sha256, before, signed=bool(newest.signatures))


def require_approved(envelope: Envelope, root: Root, before: Root | None) -> None:
    """Enough officers of the version before it, and of its own, have approved this version; RootError."""
    judges = [(root, "its own officers")]
    if before is not None:
        judges.insert(0, (before, "officers of the version before it"))
    try:
        require_known(envelope, *(judge.approvers for judge, _ in judges))
        for judge, whose in judges:
            only = of_these(envelope, judge.approvers)
            require_officers(approvals(only, judge.approvers), at_least=judge.thresholds.root, whose=whose)
    except ApprovalError as error:
        raise RootError(f"trust root, version {root.version}: {error}; {REMEDY}, approved") from error


def versions(data: bytes) -> list[tuple[Envelope, Root]]:
    """Each line of a root's file, oldest first, approvals not looked at; RootError for a line that is no root."""
    return [_version(line.strip()) for line in data.strip().split(b"\n", MAX_VERSION)]


def require_next(root: Root, before: tuple[Envelope, Root] | None) -> None:
    """The version continues the one before it and can be used; RootError. Approvals are `require_approved`'s."""
    wanted = (1, "", root.environment)
    if before is not None:
        envelope, older = before
        wanted = (older.version + 1, envelope.payload_sha256, older.environment)
    if (root.version, root.previous_sha256, root.environment) != wanted:
        text = f"trust root: version {root.version} does not follow from the line before it"
        raise RootError(f"{text} (version, hash and environment of the one before); {REMEDY}, whole")
    _require_usable(root)


def _require_chain(lines: list[tuple[Envelope, Root]]) -> None:
    before: tuple[Envelope, Root] | None = None
    for envelope, root in lines:
        require_next(root, before)
        _require_people(root)
        require_approved(envelope, root, None if before is None else before[1])
        before = (envelope, root)


def _version(line: bytes) -> tuple[Envelope, Root]:
    try:
        wrapped = Envelope.from_json(line)
        root = msgspec.json.decode(wrapped.payload, type=Root)
    except (ValueError, msgspec.DecodeError, RecursionError) as error:
        raise RootError(f"not a trust root: {quoted(error)}; {REMEDY}") from error
    if wrapped.payload_type != ROOT_TYPE or msgspec.json.encode(root, order="sorted") != wrapped.payload:
        raise RootError(f"not a trust root: wrong type or not in canonical form; {REMEDY}")
    return wrapped, root


def _require_demo(root: Root) -> None:
    if root.environment != "demo":
        raise RootError(f"an unsigned root is taken in environment 'demo' only, not in {root.environment!r}; {REMEDY}")


def _require_people(root: Root) -> None:
    """Enough people for the next root, an order and an act: what nobody can approve would stand still for ever."""
    try:
        people = [Approval(person, frozenset(each.roles)) for person, each in root.approvers.items()]
        most = max(root.thresholds.root, root.thresholds.act)
        require_officers(people, at_least=most, whose="the root")
        deciding = [each for each in people if each.roles & set(ORDER_ROLES)]
        require_roles(deciding, ORDER_ROLES, at_least=root.thresholds.order)
    except ApprovalError as error:
        raise RootError(f"trust root, version {root.version}, names too few people: {error}; {REMEDY}") from error


def _require_usable(root: Root) -> None:
    """Each key parses, is of the kind that its purpose signs with and has no other; the certificate is one."""
    named = [(whose, spki) for whose, spki in _es256(root) if spki]
    for whose, spki in named:
        _require_es256(spki, whose)
    for whose, name, spki in _note_keys(root):
        try:
            NoteKey(name, spki)
        except NoteError as error:
            raise RootError(f"trust root: {whose} cannot be used: {quoted(error)}; {REMEDY}") from error
    for spki in root.cloud_keys.device_service:
        _read_key(spki, "a device service's key")
    every = [spki for _, spki in named] + [spki for *_, spki in _note_keys(root)] + list(root.cloud_keys.device_service)
    if root.registry in root.stations:
        raise RootError(f"trust root: registry and station {root.registry!r} have one name; {REMEDY}")
    if len(set(every)) < len(every):
        raise RootError(f"trust root: one key stands in two places: each person and purpose has its own; {REMEDY}")
    try:
        if root.tls_root:
            x509.load_der_x509_certificate(root.tls_root)
    except ValueError as error:
        raise RootError(f"trust root: tls_root is not one DER certificate: {quoted(error)}; {REMEDY}") from error


def _es256(root: Root) -> Iterator[tuple[str, bytes]]:
    """Every key that signs statements: ECDSA P-256 (docs/statements.md)."""
    for name, keys in root.stations.items():
        for purpose in ("pin", "completion", "client", "account"):
            yield f"{name}'s {purpose} key", getattr(keys, purpose) or b"\0"
    yield "the registry's receipt key", root.registry_keys.receipt or b"\0"
    for purpose in ("revocation", "lease", "roster"):
        yield f"the registry's {purpose} key", getattr(root.registry_keys, purpose)
    for person, each in root.approvers.items():
        yield from ((f"{person}'s key", spki or b"\0") for spki in each.keys)
    yield from (("an authority key", spki or b"\0") for spki in root.cloud_keys.authority)
    yield "the handshake key", root.cloud_keys.handshake


def _note_keys(root: Root) -> list[tuple[str, str, bytes]]:
    """Every key that signs notes: whose it is, its name, and the key, ECDSA P-256 or Ed25519."""
    found = [(f"{name}'s log key", root.log_origin(name), keys.log) for name, keys in root.stations.items()]
    if root.registry_keys.log:
        found.append(("the registry's log key", root.log_origin(root.registry), root.registry_keys.log))
    return [*found, *((f"witness {name}'s key", name, spki) for name, spki in root.witnesses.items())]


def _require_es256(spki: bytes, whose: str) -> None:
    key_type = _read_key(spki, whose).key_type
    if key_type is not KeyType.EC_P256:
        raise RootError(f"trust root: {whose} is {key_type.value}, ec-p256 is wanted; {REMEDY}")


def _read_key(spki: bytes, whose: str) -> PublicKey:
    try:
        return PublicKey.from_der(spki)
    except PublicKeyError as error:
        raise RootError(f"trust root: {whose} cannot be used: {quoted(error)}; {REMEDY}") from error
