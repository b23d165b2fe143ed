"""The authority's words that no pin shows, to open a device and for a new anchor: on record, and only a few an act.

A new key is pinned by its act, which is done then. These change nothing here: so an act is used up by its first word,
and for a short while there are more, over another nonce, for who lost an answer or a unit's power. Never deletes a row,
and believes none that it reads.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, insert, select

from hsm.signer import AuthorisationRequest
from registry.clock import stamp
from registry.errors import RefusedError
from registry.pins.finding import Finding, differing
from registry.pins.rows import DeviceRows, Row
from registry.tables import rekey_words
from trust import pin_act, rekey
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope, EnvelopeError
from trust.keys import PublicKeyError
from trust.rekey import Authorisation, RekeyError, Step
from trust.root import RootError, TrustedRoot
from trust.statement import StatementError, moment

AGAIN: Final = timedelta(hours=1)
MOST: Final = 10
_WRONG = (ActRefusedError, EnvelopeError, RekeyError, RootError, StatementError, PublicKeyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One that was given: for which step of which act, and when (UTC, RFC 3339)."""

    step: Step
    at: str
    act: Envelope
    envelope: Envelope


def next_number(connection: Connection, request: AuthorisationRequest, now: datetime) -> int | None:
    """The number of one more word of this act; None if there is one over this very nonce. RefusedError ACT_USED."""
    mine = rekey_words.c.act_sha256 == request.act.payload_sha256
    rows = connection.execute(select(rekey_words.c.word, rekey_words.c.said_at).where(mine)).all()
    if any(_nonce(row.word) == request.nonce for row in rows):
        return None
    first = min((row.said_at for row in rows), default="")
    if first and (len(rows) >= MOST or now - moment(first) > AGAIN):
        text = f"this act had its word at {first}, and {AGAIN.seconds // 60} minutes for {MOST - 1} more"
        raise RefusedError(Code.ACT_USED, f"{text}: have another one made and approved")
    return len(rows) + 1


def keep(connection: Connection, request: AuthorisationRequest, word: Envelope, number: int, at: datetime) -> None:
    """Put it on record; IntegrityError if another one got its number."""
    row = {
        "act_sha256": request.act.payload_sha256, "number": number, "device_id": pin_act.body(request.act).device_id,
        "act": request.act.to_json(), "word": word.to_json(), "said_at": stamp(at),
    }  # fmt: skip
    connection.execute(insert(rekey_words), row)


def told(rows: DeviceRows, trusted: TrustedRoot) -> tuple[tuple[Word, ...], list[Finding]]:
    """The words given to the device, oldest first, and what is wrong with their rows."""
    good, found, numbers = [], [], Counter[str]()
    for row in sorted(rows.words, key=lambda each: (each["act_sha256"], each["number"])):
        key = f"{row['act_sha256']} number {row['number']}"
        numbers[row["act_sha256"]] += 1
        try:
            word, act_device = _read(row, trusted)
        except _WRONG as error:
            found.append(Finding("rekey_words", key, str(error)))
            continue
        columns = [
            ("act_sha256", row["act_sha256"], word.act.payload_sha256), ("device_id", rows.device_id, act_device),
            ("number", row["number"], numbers[row["act_sha256"]]),
        ]  # fmt: skip
        found += differing("rekey_words", key, columns)
        good.append(word)
    return tuple(sorted(good, key=lambda each: each.at)), found


def _read(row: Row, trusted: TrustedRoot) -> tuple[Word, str]:
    """The word and the device of its act: approved then, and signed by an authority key of then or since."""
    envelope, word = Envelope.from_json(row["act"]), Envelope.from_json(row["word"])
    at = moment(row["said_at"])
    said, act = rekey.on_record(word, envelope, trusted, at)
    return Word(step=said.step, at=row["said_at"], act=envelope, envelope=word), act.device_id


def _nonce(word: bytes) -> str:
    try:
        return Authorisation.parse(Envelope.from_json(word).payload).nonce.hex()
    except (EnvelopeError, RekeyError):  # an edited row; who reads the device is told
        return ""
