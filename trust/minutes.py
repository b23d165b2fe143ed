"""Minutes: what was done with a signer's keys, step by step, approved by the officers who were there.

A ceremony, a key that was destroyed, a key that was replaced. Pure; what it says is what the program found, not what
somebody wished. Stations keep minutes in their log.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from trust.approval import Approval, ApprovalError, approvals, require_officers
from trust.dsse import Envelope
from trust.printable import counted
from trust.root import Root, RootError, TrustedRoot
from trust.statement import Hex32, MaybeHex32, Name, Statement, StatementError, Text, Utc, read

Subject = Literal["ceremony", "key-destroyed", "key-replaced"]


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the checklist, and what was found."""

    what: Text
    found: Text


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key of the token: SHA-256 of its public half, and the attributes that were read back from the token."""

    purpose: Name
    fingerprint: Hex32
    attributes: tuple[Text, ...]


class Minutes(Statement, frozen=True, kw_only=True, tag="minutes"):
    """What was done with the token of `signer`. `officers` are those who were there and approve this.

    `act_sha256`: the act that asked for it; none for a ceremony.
    """

    PAYLOAD_TYPE = "application/vnd.keystation.minutes.v1+json"
    signer: Name
    role: Literal["factory", "cloud"]
    subject: Subject
    act_sha256: MaybeHex32
    officers: Annotated[tuple[Name, ...], msgspec.Meta(min_length=2)]
    software: Text
    token: Text
    module: Text
    keys: tuple[KeyFacts, ...]
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1)]
    began_at: Utc
    ended_at: Utc


def approved_minutes(envelope: Envelope, trusted: TrustedRoot) -> Minutes:
    """The minutes of a signer of the root, approved by each officer whom they name; StatementError.

    Officers are those of the root's version that the minutes name, and as many are named as an act needs. Whether the
    signer is one whose minutes are kept here is for the caller.
    """
    minutes = read(envelope, Minutes)
    if minutes.environment != trusted.root.environment:
        raise StatementError(f"minutes of environment {minutes.environment!r}, expected {trusted.root.environment!r}")
    try:
        root = trusted.at(minutes.root_sha256)
        given = approvals(envelope, root.approvers)
        require_officers(given, at_least=root.thresholds.act, whose="the minutes are approved by")
    except (RootError, ApprovalError) as error:
        raise StatementError(str(error)) from error
    _require_signer(minutes, root, trusted)
    _require_those(minutes, given, at_least=root.thresholds.act)
    return minutes


def _require_signer(minutes: Minutes, root: Root, trusted: TrustedRoot) -> None:
    """A station that a version of the root names, whose keys may go after it has left; or the registry."""
    stations = {name for each in (trusted.root, *(older for _, older in trusted.earlier)) for name in each.stations}
    if minutes.signer not in (stations if minutes.role == "factory" else {root.registry}):
        whose = f"{minutes.role} signer {minutes.signer!r}"
        raise StatementError(f"the minutes are of {whose}, whom the trust root does not name")


def _require_those(minutes: Minutes, given: tuple[Approval, ...], *, at_least: int) -> None:
    """Each who is named is an officer and has approved, and so many different ones are."""
    named = set(minutes.officers)
    missing = sorted(named - {each.person for each in given})
    if missing:
        raise StatementError(f"the minutes name {missing[0]}, who has not approved them")
    others = sorted(each.person for each in given if each.person in named and "officer" not in each.roles)
    if others:
        raise StatementError(f"the minutes name {others[0]}, who is no officer")
    if len(named) < at_least:
        raise StatementError(f"the minutes name {counted(len(named), 'officer')}: {at_least} different ones are wanted")
