"""Acts on pins: what two people together want done to one device's key or pin, before it expires.

Pure. An act is approved like a work order: by a product owner and by somebody from quality, each with a signature in
its own envelope (docs/decisions/0019). Never done by being approved: signer and registry each ask here, and keep what
was done. Whether a break-glass act of a signer may be done is `trust.act`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

from trust.act import ActRefusedError, Reason
from trust.approval import ORDER_ROLES, Approval, ApprovalError, approvals, require_roles
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.statement import DeviceHex, Hex32, MaybeHex32, Statement, StatementError, Utc, moment, read

PinActKind = Literal["rekey"]
Change = Literal["", "new-key", "new-anchor", "unlock"]
"""What a re-key act has done to a locked device; empty in acts of other kinds."""

LONGEST: Final = timedelta(days=30)  # a device may have to be sent to the bench first
_SKEW: Final = timedelta(minutes=5)


class PinAct(Statement, frozen=True, kw_only=True, tag="pin-act"):
    """One act on one device. Fields that its kind does not need stay empty.

    `fingerprint`: the key that the device has now, so that an act outlives no change of it. rekey: `change`, and with
    it `key_type` of the new key or `anchor_sha256` of the new anchor (`trust.rekey.anchor_sha256`).
    """

    PAYLOAD_TYPE = "application/vnd.keystation.pin-act.v1+json"
    kind: PinActKind
    reason: Reason
    device_id: DeviceHex
    fingerprint: Hex32
    change: Change = ""
    key_type: Literal["", "ec-p256", "rsa-2048"] = ""
    anchor_sha256: MaybeHex32 = ""
    nonce: Hex32
    made_at: Utc
    not_after: Utc


_NEEDS: Final[dict[str, frozenset[str]]] = {"rekey": frozenset({"change"})}
_CHANGE_NEEDS: Final[dict[str, frozenset[str]]] = {
    "new-key": frozenset({"key_type"}),
    "new-anchor": frozenset({"anchor_sha256"}),
}
_MAY_BE_EMPTY: Final = ("change", "key_type", "anchor_sha256")


def allowed(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> PinAct:
    """The act, if people enough of the root as it is now want it and its time is now; ActRefusedError."""
    act = worth_approving(envelope, trusted, now)
    try:
        require_roles(approvers(envelope, trusted), ORDER_ROLES, at_least=trusted.root.thresholds.act)
    except ApprovalError as error:
        text = f"act {act.kind} on device {act.device_id}: {error}; next: station-signer device approve"
        raise ActRefusedError(Code.ACT_NOT_APPROVED, text) from error
    return act


def worth_approving(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> PinAct:
    """The act, if it could be done now once it is approved; ActRefusedError."""
    act = body(envelope)
    if act.environment != trusted.root.environment:
        raise ActRefusedError(Code.WRONG_ENVIRONMENT, f"the act is of environment {act.environment!r}")
    if not trusted.knows(act.root_sha256):
        text = f"the act names trust root {act.root_sha256[:16]}…, which is no version of {trusted.sha256[:16]}…"
        raise ActRefusedError(Code.WRONG_ROOT, f"{text}: give the newest root file, or have the act made again")
    _require_time(act, now)
    return act


def approvers(envelope: Envelope, trusted: TrustedRoot) -> tuple[Approval, ...]:
    """Who has approved; ApprovalError."""
    return approvals(envelope, trusted.root.approvers)


def body(envelope: Envelope) -> PinAct:
    """The act, in its form and with the fields of its kind and no others; ActRefusedError."""
    try:
        act = read(envelope, PinAct)
        lasts = moment(act.not_after) - moment(act.made_at)
    except StatementError as error:
        raise ActRefusedError(Code.STATEMENT_INVALID, str(error)) from error
    if not timedelta() < lasts <= LONGEST:
        text = f"an act on a pin is good for {LONGEST.days} days at most, this one from {act.made_at} to"
        raise ActRefusedError(Code.STATEMENT_INVALID, f"{text} {act.not_after}: make it again")
    needed = _NEEDS[act.kind] | _CHANGE_NEEDS.get(act.change, frozenset())
    for name in _MAY_BE_EMPTY:
        given, wanted = bool(getattr(act, name)), name in needed
        if given != wanted:
            text = f"act {act.kind}: {name} is {'missing' if wanted else 'not its own'}"
            raise ActRefusedError(Code.STATEMENT_INVALID, f"{text}: make the act again")
    return act


def _require_time(act: PinAct, now: datetime) -> None:
    made, ends = moment(act.made_at), moment(act.not_after)
    if now > ends:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act was good until {act.not_after}: have it made again")
    if made - now > _SKEW:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act is good from {act.made_at}: is this machine's clock right?")
