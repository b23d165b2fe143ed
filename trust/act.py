"""Break-glass acts: what two officers together may have a signer do, once, over exactly these bytes, before it expires.

Pure. Whether an act was used before is the signer's to remember.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

from trust.approval import Approval, ApprovalError, approvals, require_officers
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.statement import Hex32, MaybeHex32, Name, Statement, StatementError, Utc, moment, read

ActKind = Literal["raise-allowance", "accept-surplus", "lift-stop", "replace-key", "destroy-key"]
LONGEST: Final = timedelta(days=7)
_SKEW: Final = timedelta(minutes=5)
MaybeName = Annotated[str, msgspec.Meta(pattern=r"\A([a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)?\Z")]
Reason = Annotated[str, msgspec.Meta(min_length=8, max_length=200)]


class ActRefusedError(Exception):
    """The act is not done; `code` says what kind of reason, the text which and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Act(Statement, frozen=True, kw_only=True, tag="act"):
    """One act by one signer. Fields that its kind does not need stay empty.

    raise-allowance: `order_id`, `order_sha256`, `units` more pin statements. accept-surplus: as many of them that no
    ledger has. lift-stop: `stop`, the stop's number. replace-key, destroy-key: `purpose` and `fingerprint` of the key
    that goes.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.act.v1+json"
    signer: Name
    kind: ActKind
    reason: Reason
    order_id: MaybeName = ""
    order_sha256: MaybeHex32 = ""
    units: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    stop: Annotated[int, msgspec.Meta(ge=0, le=2**31)] = 0
    purpose: MaybeName = ""
    fingerprint: MaybeHex32 = ""
    nonce: Hex32
    made_at: Utc
    not_after: Utc


_NEEDS: Final[dict[str, frozenset[str]]] = {
    "raise-allowance": frozenset({"order_id", "order_sha256", "units"}),
    "accept-surplus": frozenset({"order_id", "order_sha256", "units"}),
    "lift-stop": frozenset({"stop"}),
    "replace-key": frozenset({"purpose", "fingerprint"}),
    "destroy-key": frozenset({"purpose", "fingerprint"}),
}


def allowed(envelope: Envelope, trusted: TrustedRoot, *, signer: str, now: datetime) -> Act:
    """The act, if officers enough of the root as it is now want this signer to do it now; ActRefusedError."""
    act = body(envelope)
    _require_root(act, trusted)
    if act.signer != signer:
        raise ActRefusedError(Code.NOT_AUTHORISED, f"the act is for signer {act.signer!r}, this is {signer!r}")
    _require_time(act, now)
    try:
        require_officers(
            approvers(envelope, trusted), at_least=trusted.root.thresholds.act, whose="the act is approved by"
        )
    except ApprovalError as error:
        raise ActRefusedError(Code.ACT_NOT_APPROVED, f"{error}; next: station-signer act approve") from error
    return act


def worth_approving(envelope: Envelope, trusted: TrustedRoot, now: datetime) -> Act:
    """The act, if officers enough could have it done now under this root; ActRefusedError."""
    act = body(envelope)
    _require_root(act, trusted)
    _require_time(act, now)
    return act


def approvers(envelope: Envelope, trusted: TrustedRoot) -> tuple[Approval, ...]:
    """Who has approved; ApprovalError."""
    return approvals(envelope, trusted.root.approvers)


def body(envelope: Envelope) -> Act:
    """The act, in its form and with the fields of its kind and no others; ActRefusedError."""
    try:
        act = read(envelope, Act)
    except StatementError as error:
        raise ActRefusedError(Code.STATEMENT_INVALID, str(error)) from error
    _require_short(act)
    for name in sorted(frozenset[str]().union(*_NEEDS.values())):
        given, wanted = bool(getattr(act, name)), name in _NEEDS[act.kind]
        if given != wanted:
            text = f"act {act.kind}: {name} is {'missing' if wanted else 'not its own'}"
            raise ActRefusedError(Code.STATEMENT_INVALID, f"{text}: make the act again")
    return act


def _require_root(act: Act, trusted: TrustedRoot) -> None:
    if act.environment != trusted.root.environment:
        raise ActRefusedError(Code.WRONG_ENVIRONMENT, f"the act is of environment {act.environment!r}")
    if act.root_sha256 != trusted.sha256:
        text = "the act was approved under another version of the trust root"
        raise ActRefusedError(Code.WRONG_ROOT, f"{text}: have it made and approved again")


def _require_short(act: Act) -> None:
    try:
        lasts = moment(act.not_after) - moment(act.made_at)
    except StatementError as error:
        raise ActRefusedError(Code.STATEMENT_INVALID, f"act {act.kind}: {error}: make the act again") from error
    if not timedelta() < lasts <= LONGEST:
        text = f"an act is good for {LONGEST.days} days at most, this one from {act.made_at} to {act.not_after}"
        raise ActRefusedError(Code.STATEMENT_INVALID, f"{text}: make it again")


def _require_time(act: Act, now: datetime) -> None:
    made, ends = moment(act.made_at), moment(act.not_after)
    if now > ends:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act was good until {act.not_after}: have it made again")
    if made - now > _SKEW:
        raise ActRefusedError(Code.ACT_EXPIRED, f"the act is good from {act.made_at}: is the signer's clock right?")
