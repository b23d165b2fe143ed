"""Acts on pins: what people together want done to one device's key or pin, once, before it expires.

Pure. An act is approved like a work order: by a product owner and by somebody from quality, each with a signature in
its own envelope (docs/decisions/0019); the scrap of a unit that was never finished by one of them. Never done by being
approved: signer and registry each ask here, and keep what was done. Whether a break-glass act of a signer may be done
is `trust.act`; what follows from an act for a device's pins is `trust.pin_life`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from trust.act import ActRefusedError, Reason
from trust.approval import ORDER_ROLES, Approval, ApprovalError, approvals, require_roles, roles_missing
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import Root, RootError, TrustedRoot
from trust.statement import DeviceHex, Hex32, MaybeHex32, Statement, StatementError, Utc, moment, read

PinActKind = Literal["rekey", "repin", "revoke", "scrap", "unscrap"]
Change = Literal["", "new-key", "new-anchor", "unlock"]
"""What a re-key act has done to a locked device; empty in acts of other kinds."""
State = Literal["provisional", "active", "revoked", "scrapped"]
MaybeUtc = Annotated[str, msgspec.Meta(pattern=r"\A([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?\Z")]

LONGEST: Final = timedelta(days=30)  # a device may have to be sent to the bench first
_SKEW: Final = timedelta(minutes=5)


class PinAct(Statement, frozen=True, kw_only=True, tag="pin-act"):
    """One act on one device. Fields that its kind does not need stay empty.

    `fingerprint`: the key that the device has now, so that an act outlives no change of it. rekey: `change`, and with
    it `key_type` of the new key or `anchor_sha256` of the new anchor (`trust.rekey.anchor_sha256`). All others: `was`,
    the state of the device as the approvers know it. repin: `new_fingerprint`. repin and rekey to a new key: `ends_at`,
    until when the old key is good beside the new one; empty: not at all.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.pin-act.v1+json"
    kind: PinActKind
    reason: Reason
    device_id: DeviceHex
    fingerprint: Hex32
    was: Literal["", "provisional", "active", "revoked", "scrapped"] = ""
    new_fingerprint: MaybeHex32 = ""
    ends_at: MaybeUtc = ""
    change: Change = ""
    key_type: Literal["", "ec-p256", "rsa-2048"] = ""
    anchor_sha256: MaybeHex32 = ""
    nonce: Hex32
    made_at: Utc
    not_after: Utc


_NEEDS: Final[dict[str, frozenset[str]]] = {
    "rekey": frozenset({"change"}),
    "repin": frozenset({"was", "new_fingerprint"}),
    "revoke": frozenset({"was"}),
    "scrap": frozenset({"was"}),
    "unscrap": frozenset({"was"}),
}
_CHANGE_NEEDS: Final[dict[str, frozenset[str]]] = {
    "new-key": frozenset({"key_type"}),
    "new-anchor": frozenset({"anchor_sha256"}),
}
_MAY_BE_EMPTY: Final = ("was", "new_fingerprint", "ends_at", "change", "key_type", "anchor_sha256")


def gives_key(act: PinAct) -> bool:
    """Whether a new key is pinned by it."""
    return act.kind == "repin" or act.change == "new-key"


def by_one(act: PinAct) -> bool:
    """Whether one approver is enough: it scraps a unit that was never finished. The registry wants his code, too."""
    return act.kind == "scrap" and act.was == "provisional"


def allowed(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> PinAct:
    """The act, if people enough want it and its time is now; ActRefusedError.

    People whom the root names now, and named in the version under which the act was made: who judges it years later
    finds the same answer.
    """
    act = worth_approving(envelope, trusted, now)
    for root in {each.version: each for each in (trusted.at(act.root_sha256), trusted.root)}.values():
        _require_people(act, envelope, root)
    return act


def on_record(envelope: Envelope, trusted: TrustedRoot, at: datetime) -> PinAct:
    """The act, if it could be done at that time under the root that it names; ActRefusedError."""
    act = body(envelope)
    require_time(act, at)
    try:
        root = trusted.at(act.root_sha256)
    except RootError as error:
        raise ActRefusedError(Code.WRONG_ROOT, str(error)) from error
    if act.environment != root.environment:
        raise ActRefusedError(Code.WRONG_ENVIRONMENT, f"the act is of environment {act.environment!r}")
    _require_people(act, envelope, root)
    return act


def worth_approving(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> PinAct:
    """The act, if it could be done now once it is approved; ActRefusedError."""
    act = body(envelope)
    if act.environment != trusted.root.environment:
        raise ActRefusedError(Code.WRONG_ENVIRONMENT, f"the act is of environment {act.environment!r}")
    if not trusted.knows(act.root_sha256):
        text = f"the act names trust root {act.root_sha256[:16]}…, which is no version of {trusted.sha256[:16]}…"
        raise ActRefusedError(Code.WRONG_ROOT, f"{text}: give the newest root file, or have the act made again")
    require_time(act, now)
    return act


def approvers(envelope: Envelope, trusted: TrustedRoot) -> tuple[Approval, ...]:
    """Who has approved; ApprovalError."""
    return approvals(envelope, trusted.root.approvers)


def require_enough(act: PinAct, given: Sequence[Approval], root: Root) -> None:
    """These people may have it done; ApprovalError. The scrap of what was never finished takes one of them."""
    if by_one(act):
        if not given or any(not each.roles & set(ORDER_ROLES) for each in given):
            raise ApprovalError(f"approved by {_names(given)}: one of {' or '.join(ORDER_ROLES)} is wanted")
        return
    require_roles(given, ORDER_ROLES, at_least=root.thresholds.act)


def missing(act: PinAct, given: Sequence[Approval], root: Root) -> str:
    """Who is wanted besides these, for people; empty when they are enough."""
    if by_one(act):
        return "" if given else " or ".join(ORDER_ROLES)
    return roles_missing(given, ORDER_ROLES, at_least=root.thresholds.act)


def require_time(act: PinAct, at: datetime) -> None:
    """The act may be done at this time; ActRefusedError."""
    made, ends = moment(act.made_at), moment(act.not_after)
    if at > ends:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act was good until {act.not_after}: have it made again")
    if made - at > _SKEW:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act is good from {act.made_at}: is this machine's clock right?")


def body(envelope: Envelope) -> PinAct:
    """The act, in its form and with the fields of its kind and no others; ActRefusedError."""
    try:
        act = read(envelope, PinAct)
        lasts = moment(act.not_after) - moment(act.made_at)
        if act.ends_at:
            moment(act.ends_at)
    except StatementError as error:
        raise ActRefusedError(Code.STATEMENT_INVALID, str(error)) from error
    if not timedelta() < lasts <= LONGEST:
        text = (
            f"an act on a pin is good for {LONGEST.days} days at most, this one from {act.made_at} to {act.not_after}"
        )
        raise ActRefusedError(Code.STATEMENT_INVALID, f"{text}: make it again")
    needed = _NEEDS[act.kind] | _CHANGE_NEEDS.get(act.change, frozenset())
    for name in _MAY_BE_EMPTY:
        given, wanted = bool(getattr(act, name)), name in needed
        if given != wanted and not (name == "ends_at" and gives_key(act)):
            text = f"act {act.kind}: {name} is {'missing' if wanted else 'not its own'}"
            raise ActRefusedError(Code.STATEMENT_INVALID, f"{text}: make the act again")
    return act


def _require_people(act: PinAct, envelope: Envelope, root: Root) -> None:
    try:
        require_enough(act, approvals(envelope, root.approvers), root)
    except ApprovalError as error:
        text = f"act {act.kind} on device {act.device_id}: {error}; next: station-signer device approve"
        raise ActRefusedError(Code.ACT_NOT_APPROVED, text) from error


def _names(given: Sequence[Approval]) -> str:
    return ", ".join(each.person for each in given) or "nobody"
