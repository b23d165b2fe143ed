"""Whether a device has shown that it holds a new key, as an approved act wants it: pure, every rule by value.

The one rule for who takes a new key in and for who reads it years later. Never looks at what is stored: whether the
challenge is one of this registry, and unused, is for who takes it in.
"""

from __future__ import annotations

from datetime import datetime

from trust import rekey
from trust import repin as repins
from trust.dsse import Envelope
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.pin_act import PinAct
from trust.rekey import Authorisation, RekeyError, Step
from trust.repin import Repin
from trust.root import Root, RootError, TrustedRoot
from trust.signed import SignedError
from trust.statement import StatementError

_MADE_BY = frozenset({Step.NEW_KEY, Step.COMMIT})


def require_shown(
    shown: Repin,
    act: PinAct,
    approved: Envelope,
    leave: Envelope | None,
    *,
    old: PublicKey,
    order: WorkOrder,
    trusted: TrustedRoot,
    at: datetime,
) -> frozenset[bytes]:
    """The r of each ECDSA signature that shows it; StatementError when it does not hold.

    `approved` is the act's envelope, `leave` the re-key authorisation where the act wants one, `old` the pinned key,
    `order` that of the first pin, `at` the time at which it was shown.
    """
    try:
        root = trusted.at(act.root_sha256)
        _require_about(shown, act, approved, root, order)
        wrong = repins.problem(shown, old if act.kind == "rekey" else None)
        if wrong is not None:
            raise StatementError(wrong)
        _require_leave(shown, act, approved, leave, keys=_authority(root, order), at=at)
        return _nonces(shown)
    except (RootError, RekeyError, PublicKeyError, SignedError) as error:
        raise StatementError(f"new key: {error}") from error


def _require_about(shown: Repin, act: PinAct, approved: Envelope, root: Root, order: WorkOrder) -> None:
    for name, found, wanted in (
        ("device", shown.device_id, act.device_id),
        ("act", shown.act_sha256, approved.payload_sha256),
        ("environment", shown.environment, root.environment),
        ("registry", shown.registry, root.registry),
        ("key type", shown.key_type, order.key_type),
    ):
        if found != wanted:
            raise StatementError(f"new key: {name} is {found!r}, expected {wanted!r}")


def _require_leave(
    shown: Repin, act: PinAct, approved: Envelope, leave: Envelope | None, *, keys: list[PublicKey], at: datetime
) -> None:
    if act.kind != "rekey":
        if leave is not None or shown.authorisation_sha256:
            raise StatementError("new key: an authorisation belongs to an act of kind rekey only")
        return
    if leave is None or shown.authorisation_sha256 != leave.payload_sha256:
        raise StatementError("new key: the re-key authorisation by which it was made is missing, or another one")
    found = rekey.authorised(leave, keys)
    wrong = rekey.problem(found, approved, act, at) or _step_problem(found, shown)
    if wrong is not None:
        raise StatementError(f"new key: {wrong}")


def _step_problem(found: Authorisation, shown: Repin) -> str | None:
    if found.step not in _MADE_BY:
        return f"the re-key authorisation is for step {found.step.value}, which makes no key"
    if found.step is Step.COMMIT and found.subject != shown.fingerprint:
        return "the re-key authorisation names another new key"
    return None


def _authority(root: Root, order: WorkOrder) -> list[PublicKey]:
    """Whose word a device of this order takes: the key in its anchor, which an act may have changed since."""
    return [PublicKey.from_der(each) for each in sorted({*root.cloud_keys.authority, order.authority_key})]


def _nonces(shown: Repin) -> frozenset[bytes]:
    found = repins.nonces_in(shown)
    if len(set(found)) != len(found):
        raise StatementError("new key: both keys have signed with one nonce: anybody can compute them")
    return frozenset(found)
