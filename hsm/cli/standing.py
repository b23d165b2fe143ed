"""How far a document is: whose approvals count, what is still missing, and what comes next. Text only; judges nothing.

Whether it holds is asked of the one who will be asked then: `trust.act`, `trust.order_approval`, `trust.minutes`,
`trust.root_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from trust import act as acts
from trust import pin_act as pin_acts
from trust.act import ActRefusedError
from trust.approval import (
    ORDER_ROLES,
    Approval,
    ApprovalError,
    Approvers,
    approvals,
    of_these,
    officers_missing,
    roles_missing,
)
from trust.dsse import Envelope
from trust.minutes import Minutes, approved_minutes
from trust.order_approval import OrderRefusedError, admitted
from trust.root import Root, RootError, TrustedRoot
from trust.root_file import parse
from trust.statement import StatementError, read

KEY_ACTS = frozenset({"replace-key", "destroy-key"})
_REPIN = "POST /v1/devices/ID/repin"


def of_act(envelope: Envelope, trusted: TrustedRoot, file: Path, root_file: Path) -> str:
    """An act: officers of the root."""
    try:
        given = _of_whom(envelope, trusted.root.approvers)
        missing = officers_missing(given, at_least=trusted.root.thresholds.act)
        if missing:
            return _wanting(_officers(given), missing, f"act approve {file} --root {root_file}")
        act = acts.allowed(envelope, trusted, signer=acts.body(envelope).signer, now=datetime.now(UTC))
    except (ApprovalError, ActRefusedError) as error:
        return f"not to be done: {error}"
    return f"{_enough(_officers(given))}; next: {act_next(act, file, root_file)}"


def act_next(act: acts.Act, file: Path, root_file: Path) -> str:
    """The command that has an approved act done."""
    if act.kind in KEY_ACTS:
        command = f"station-signer act perform {file} --dir DIR --root {root_file} --out MINUTES"
        return f"stop signer {act.signer}, then {command}"
    return f"station act {file}, at station {act.signer}"


def of_device(envelope: Envelope, trusted: TrustedRoot, file: Path, root_file: Path) -> str:
    """An act on a device: product owner and quality, as many people as the root wants; see `trust.pin_act`."""
    try:
        act = pin_acts.body(envelope)
        given = _of_whom(envelope, trusted.root.approvers)
        names = [f"{each.person} ({' and '.join(sorted(each.roles))})" for each in given]
        missing = pin_acts.missing(act, given, trusted.root)
        if missing:
            return _wanting(names, missing, f"device approve {file} --root {root_file}")
        pin_acts.allowed(envelope, trusted, datetime.now(UTC))
    except (ApprovalError, ActRefusedError) as error:
        return f"not to be done: {error}"
    return f"{_enough(names)}; next: {device_next(act, file)}"


def device_next(act: pin_acts.PinAct, file: Path) -> str:
    """Who has an approved act on a device done."""
    match act.kind:
        case "rekey":
            anchor = " --order ORDER" if act.change == "new-anchor" else ""
            where = "at the station that has it on its bench"
            return f"station device rework {act.device_id} --act {file}{anchor}, {where}"
        case "scrap":
            return f"station device scrap {act.device_id} --act {file}, at a station of its order"
        case "revoke" | "unscrap":
            return f"station device {act.kind} {act.device_id} --act {file}, at any station, by a lead or an engineer"
        case "repin":
            return f"bring {file} with the device's proof of the new key: {_REPIN} (docs/statements.md, 9)"


def of_order(envelope: Envelope, trusted: TrustedRoot, file: Path, root_file: Path) -> str:
    """An order: product owner and quality, and as many people as the root wants."""
    try:
        given = _of_whom(envelope, trusted.root.approvers)
        missing = roles_missing(given, ORDER_ROLES, at_least=trusted.root.thresholds.order)
        names = [f"{each.person} ({' and '.join(sorted(each.roles))})" for each in given]
        if missing:
            return _wanting(names, missing, f"order approve {file} --root {root_file}")
        admitted(envelope, trusted)
    except (ApprovalError, OrderRefusedError) as error:
        return f"nothing may be made under it: {error}"
    return f"{_enough(names)}; next: station order import {file}, or station run --order {file}"


def of_minutes(envelope: Envelope, trusted: TrustedRoot, file: Path, root_file: Path) -> str:
    """Minutes: each officer whom they name."""
    minutes = read(envelope, Minutes)
    try:
        given = _of_whom(envelope, trusted.at(minutes.root_sha256).approvers)
        there = [each.person for each in given if each.person in minutes.officers]
        missing = [each for each in minutes.officers if each not in there]
        if missing:
            return _wanting(there, " and ".join(missing), f"minutes approve {file} --root {root_file}")
        approved_minutes(envelope, trusted)
    except (ApprovalError, RootError, StatementError) as error:
        return f"not complete: {error}"
    where = f"station {minutes.signer}" if minutes.role == "factory" else "a station of this registry"
    return f"{_enough(there)}; next: station minutes {file}, at {where}"


def of_root(data: bytes, envelope: Envelope, judges: Sequence[Root], file: Path) -> str:
    """A root's newest version: officers of the version before it, and its own; `data` is the whole file."""
    try:
        given = [(each, _of_whom(envelope, each.approvers)) for each in judges]
        names = sorted({name for _, some in given for name in _officers(some)})
        lacking = [(each, officers_missing(some, at_least=each.thresholds.root)) for each, some in given]
        missing = " and ".join(f"{text} of version {each.version}" for each, text in lacking if text)
        if missing:
            return _wanting(names, missing, f"root approve {file}")
        trusted = parse(data)
    except (ApprovalError, RootError) as error:
        return f"not to be used yet: {error}"
    if trusted.earlier:
        everybody = "signers, registry and stations"
        return f"{_enough(names)}; next: put it in the old one's place for {everybody}, and start them again"
    return f"{_enough(names)}; next: station-signer root import {file} --dir DIR --sha256 {trusted.sha256}"


def _of_whom(envelope: Envelope, people: Approvers) -> tuple[Approval, ...]:
    return approvals(of_these(envelope, people), people)


def _officers(given: Iterable[Approval]) -> list[str]:
    return [each.person for each in given if "officer" in each.roles]


def _enough(names: Sequence[str]) -> str:
    return f"approved by {', '.join(names)}: enough"


def _wanting(names: Sequence[str], missing: str, command: str) -> str:
    so_far = f"approved by {', '.join(names)}" if names else "approved by nobody who counts"
    return f"{so_far}; still missing: {missing}; next: station-signer {command} --key KEY"
