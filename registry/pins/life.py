"""A device's acts verified one after the other, and what became of its pins: folded anew from the beginning each time.

Each act must be approved under the version of the root that it names, at the time that the registry's receipt tells,
and fit the device as it was then (`trust.pin_life`); each column is compared with what follows from it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from registry.pins.finding import Finding, differing
from registry.pins.late import act_problem
from registry.pins.new_key import require_shown
from registry.pins.papers import Papers, missing_receipt, signed_receipt
from registry.pins.rows import DeviceRows, Row
from trust import pin_act, pin_life
from trust.act import ActRefusedError
from trust.dsse import Envelope, EnvelopeError
from trust.keys import PublicKey
from trust.pin_act import PinAct, gives_key
from trust.pin_life import Life, LifeError
from trust.repin import Repin
from trust.revocation import CAUSES, Revocation, require_wanted
from trust.root import RootError, TrustedRoot
from trust.statement import Receipt, StatementError, moment, read, verify

_UNPROVED = "when it was done is proved by nothing"
_NEW_KEY = ("repin", "repin_sha256", "authorisation", "new_fingerprint", "new_modulus", "challenge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """An act that was done: when (UTC, RFC 3339), what the device was afterwards, and what came of it.

    `statement_sha256`: what the registry's receipt is about. `repin`: the new key, if it got one.
    """

    act: PinAct
    envelope: Envelope
    statement_sha256: str
    at: str
    life: Life
    repin: Repin | None
    revocation: Envelope | None


@dataclass(slots=True)
class Lived:
    """What is known so far, while acts are folded; `keys` are all that were ever pinned for the device."""

    rows: DeviceRows
    papers: Papers
    trusted: TrustedRoot
    now: datetime
    life: Life
    keys: dict[str, PublicKey]
    nonces: frozenset[bytes]
    deeds: list[Deed] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)


def lived(rows: DeviceRows, papers: Papers, trusted: TrustedRoot, now: datetime) -> Lived:
    """All that became of the device; what follows an act that does not hold is not told, and that is found."""
    life = pin_life.begun(papers.pin.fingerprint)
    if papers.completion is not None:
        life = pin_life.completed(life)
    so_far = Lived(rows, papers, trusted, now, life, {papers.pin.fingerprint: papers.key}, papers.nonces)
    for number, row in enumerate(rows.acts, 1):
        key = f"{rows.device_id} number {number}"
        so_far.found += differing("pin_acts", key, [("number", row["number"], number)])
        try:
            _follow(so_far, row, key)
        except (ActRefusedError, LifeError, StatementError, EnvelopeError) as error:
            so_far.found.append(Finding("pin_acts", key, f"act: {error}"))
            break
    return so_far


def _follow(so_far: Lived, row: Row, key: str) -> None:
    papers, trusted = so_far.papers, so_far.trusted
    envelope = Envelope.from_json(row["act"])
    act = pin_act.body(envelope)
    shown = _shown(row) if gives_key(act) else None
    sha256 = envelope.payload_sha256 if shown is None else shown.payload_sha256
    receipt, at = _receipt(so_far, row, envelope, sha256)
    pin_act.on_record(envelope, trusted, moment(at))
    repin = None if shown is None else read(shown, Repin)
    leave = None if row["authorisation"] is None else Envelope.from_json(row["authorisation"])
    if repin is not None:
        old = so_far.keys[so_far.life.fingerprint]
        so_far.nonces |= require_shown(
            repin, act, envelope, leave, old=old, order=papers.order, trusted=trusted, at=moment(at)
        )
        so_far.keys[repin.fingerprint] = PublicKey.from_der(repin.spki)
    was = so_far.life
    so_far.life = pin_life.after(was, act, papers.order, moment(at), "" if repin is None else repin.fingerprint)
    so_far.found += differing("pin_acts", key, _columns(row, envelope, act, was, so_far.life))
    so_far.found += differing("pin_acts", key, _key_columns(row, shown, repin))
    if receipt is not None:
        wanted = receipt_of(papers, so_far.life, sha256, is_repin=repin is not None)
        so_far.found += differing("receipts", sha256, [(name, getattr(receipt, name), wanted[name]) for name in wanted])
        so_far.found += differing("pin_acts", key, [("registered_at", row["registered_at"], at)])
    revocation = _revocation(so_far, act, envelope.payload_sha256, at)
    so_far.deeds.append(
        Deed(
            act=act, envelope=envelope, statement_sha256=sha256, at=at, life=so_far.life, repin=repin,
            revocation=revocation,
        )
    )  # fmt: skip


def _shown(row: Row) -> Envelope:
    if row["repin"] is None:
        raise StatementError("the new key's statement is missing")
    envelope = Envelope.from_json(row["repin"])
    if envelope.signatures:
        raise StatementError("a new key's statement is signed by nobody")
    return envelope


def _receipt(so_far: Lived, row: Row, act: Envelope, sha256: str) -> tuple[Receipt | None, str]:
    """The registry's receipt for the act, and the time that it tells; the row's while one may still be signed."""
    data, at = so_far.rows.receipts.get(sha256), str(row["registered_at"])
    if data is None:
        before = so_far.deeds[-1].at if so_far.deeds else None
        late = act_problem(act, at, so_far.trusted, so_far.now, before)
        so_far.found.append(missing_receipt("pin_acts", so_far.rows.device_id, sha256, late))
        if late is not None:
            raise StatementError(_UNPROVED)
        return None, at
    try:
        receipt = signed_receipt(data, so_far.trusted)
    except StatementError as error:
        so_far.found.append(Finding("receipts", sha256, f"envelope: {error}"))
        raise StatementError(_UNPROVED) from error
    return receipt, receipt.registered_at


def _columns(row: Row, envelope: Envelope, act: PinAct, was: Life, life: Life) -> list[tuple[str, object, object]]:
    expiring = life.expiring
    return [
        ("device_id", row["device_id"], act.device_id),
        ("kind", row["kind"], act.kind),
        ("was", row["was"], was.state),
        ("act_sha256", row["act_sha256"], envelope.payload_sha256),
        ("state", row["state"], life.state),
        ("fingerprint", row["fingerprint"], life.fingerprint),
        ("expiring", row["expiring"], None if expiring is None else expiring.fingerprint),
        ("ends_at", row["ends_at"], None if expiring is None else expiring.ends_at),
    ]


def _key_columns(row: Row, shown: Envelope | None, repin: Repin | None) -> list[tuple[str, object, object]]:
    if shown is None or repin is None:
        return [(each, row[each], None) for each in _NEW_KEY]
    return [
        ("repin_sha256", row["repin_sha256"], shown.payload_sha256),
        ("new_fingerprint", row["new_fingerprint"], repin.fingerprint),
        ("new_modulus", row["new_modulus"], PublicKey.from_der(repin.spki).modulus),
        ("challenge", row["challenge"], repin.challenge),
    ]


def receipt_of(papers: Papers, life: Life, sha256: str, *, is_repin: bool) -> dict[str, str]:
    """What the registry's receipt for an act says, but for who says it and when."""
    pin = papers.pin
    return {
        "subject": "repin" if is_repin else "act", "statement_sha256": sha256, "order_id": pin.order_id, "job": pin.job,
        "device_id": pin.device_id, "fingerprint": life.fingerprint, "state": life.state,
    }  # fmt: skip


def _revocation(so_far: Lived, act: PinAct, act_sha256: str, at: str) -> Envelope | None:
    """The revocation that followed, verified; None where none is due, or it is missing, which is found."""
    row, pin = so_far.rows.revocations.get(act_sha256), so_far.papers.pin
    if act.kind not in CAUSES:
        if row is not None:
            so_far.found.append(Finding("revocations", act_sha256, f"an act {act.kind} revokes nothing"))
        return None
    if row is None:
        so_far.found.append(missing_revocation(so_far.rows.device_id, act_sha256))
        return None
    try:
        envelope, said = _signed(row, so_far.trusted)
        require_wanted(said, act, act_sha256)
    except (EnvelopeError, StatementError, RootError) as error:
        so_far.found.append(Finding("revocations", act_sha256, f"envelope: {error}"))
        return None
    columns = [
        ("device_id", row["device_id"], act.device_id), ("order_id", row["order_id"], pin.order_id),
        ("cause", row["cause"], said.cause), ("order_id in it", said.order_id, pin.order_id),
        ("job in it", said.job, pin.job), ("revoked_at in it", said.revoked_at, at),
        ("registry in it", said.registry, so_far.trusted.root.registry),
    ]  # fmt: skip
    so_far.found += differing("revocations", act_sha256, columns)
    return envelope


def missing_revocation(device_id: str, act_sha256: str) -> Finding:
    """An act without its revocation: a crash came between, which the next request mends, or somebody took it away."""
    return Finding("revocations", act_sha256, f"missing, for device {device_id}", due=True)


def _signed(row: Row, trusted: TrustedRoot) -> tuple[Envelope, Revocation]:
    envelope = Envelope.from_json(row["envelope"])
    key = trusted.at(read(envelope, Revocation).root_sha256).revocation_key
    if key is None:
        raise StatementError("the trust root that it names has no key for it")
    return envelope, verify(envelope, Revocation, key)
