"""Acts on pins, revocations and challenges in SQL. Each function runs inside the caller's transaction.

Inserts are plain: constraints and triggers decide. Never updates, and deletes nothing but challenges that are over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, or_, select

from registry.tables import challenges, pin_acts, pins, revocations, signature_r
from trust.dsse import Envelope
from trust.pin_act import State
from trust.pin_life import Life
from trust.revocation import Revocation


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A new key as its row keeps it: the statement that shows it, the leave to make it, and what must be unique."""

    repin: Envelope
    authorisation: Envelope | None
    fingerprint: str
    modulus: bytes | None
    challenge: bytes
    nonces: frozenset[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAct:
    """An act that is done: its number for the device, the envelope, what the device was and is."""

    device_id: str
    number: int
    kind: str
    act: Envelope
    was: Life
    life: Life
    at: str
    new_key: NewKey | None = None


def insert_act(connection: Connection, new: NewAct) -> None:
    """Insert it, and the r of the proofs with it; IntegrityError if anything is taken, or the device is otherwise."""
    expiring, key = new.life.expiring, new.new_key
    row = {
        "device_id": new.device_id, "number": new.number, "kind": new.kind, "was": new.was.state,
        "act": new.act.to_json(), "act_sha256": new.act.payload_sha256, "state": new.life.state,
        "fingerprint": new.life.fingerprint, "expiring": None if expiring is None else expiring.fingerprint,
        "ends_at": None if expiring is None else expiring.ends_at, "registered_at": new.at,
    }  # fmt: skip
    if key is None:
        connection.execute(insert(pin_acts), row)
        return
    leave = key.authorisation
    connection.execute(
        insert(pin_acts),
        {
            **row, "repin": key.repin.to_json(), "repin_sha256": key.repin.payload_sha256,
            "authorisation": None if leave is None else leave.to_json(), "new_fingerprint": key.fingerprint,
            "new_modulus": key.modulus, "challenge": key.challenge,
        },
    )  # fmt: skip
    if key.nonces:
        rows = [{"r": each, "device_id": new.device_id} for each in sorted(key.nonces)]
        connection.execute(insert(signature_r), rows)


def act_is_used(connection: Connection, act_sha256: str) -> bool:
    """Whether this act was done."""
    return connection.execute(select(pin_acts.c.number).where(pin_acts.c.act_sha256 == act_sha256)).first() is not None


def owners_of(connection: Connection, key: NewKey) -> list[str]:
    """Devices for which this key, its modulus or one of its proofs' r is stored."""
    same = [pins.c.fingerprint == key.fingerprint, *([pins.c.modulus == key.modulus] if key.modulus else [])]
    first = select(pins.c.device_id).where(or_(*same))
    used = select(signature_r.c.device_id).where(signature_r.c.r.in_(sorted(key.nonces)))
    found = [each for query in (first, used) for each in connection.execute(query).scalars()]
    return [*found, *repinned_for(connection, key.fingerprint, key.modulus)]


def repinned_for(connection: Connection, fingerprint: str, modulus: bytes | None) -> list[str]:
    """Devices that got this key, or modulus, after their first one."""
    same = [pin_acts.c.new_fingerprint == fingerprint, *([pin_acts.c.new_modulus == modulus] if modulus else [])]
    return list(connection.execute(select(pin_acts.c.device_id).where(or_(*same))).scalars())


def newest_state(connection: Connection, device_id: str) -> State | None:
    """What the newest act's row says of the device; None if nothing was ever done to its pin."""
    query = (
        select(pin_acts.c.state).where(pin_acts.c.device_id == device_id).order_by(pin_acts.c.number.desc()).limit(1)
    )
    found: State | None = connection.execute(query).scalar_one_or_none()
    return found


def insert_revocation(connection: Connection, said: Revocation, signed: Envelope) -> None:
    """Keep what followed from an act; IntegrityError if it is kept already."""
    row = {
        "act_sha256": said.act_sha256, "device_id": said.device_id, "order_id": said.order_id, "cause": said.cause,
        "envelope": signed.to_json(),
    }  # fmt: skip
    connection.execute(insert(revocations), row)


def scrapped_under(connection: Connection, order_id: str, after: str, most: int) -> Sequence[tuple[str, bytes]]:
    """Act and revocation of devices scrapped under the order, in the order of the acts' hashes, after this one."""
    query = (
        select(revocations.c.act_sha256, revocations.c.envelope)
        .where(revocations.c.order_id == order_id, revocations.c.cause == "scrapped", revocations.c.act_sha256 > after)
        .order_by(revocations.c.act_sha256)
        .limit(most)
    )
    return [(row.act_sha256, row.envelope) for row in connection.execute(query)]


def give_challenge(connection: Connection, challenge: bytes, device_id: str, *, expires_at: str, over: str) -> None:
    """Remember a challenge until it expires; those that have been over since before `over` are swept."""
    connection.execute(delete(challenges).where(challenges.c.expires_at < over))
    row = {"challenge": challenge, "device_id": device_id, "expires_at": expires_at}
    connection.execute(insert(challenges), row)


def challenge_is_good(connection: Connection, challenge: bytes, device_id: str, now: str) -> bool:
    """Whether it was given out for this device and is not over."""
    query = select(challenges.c.expires_at).where(
        challenges.c.challenge == challenge, challenges.c.device_id == device_id, challenges.c.expires_at > now
    )
    return connection.execute(query).first() is not None
