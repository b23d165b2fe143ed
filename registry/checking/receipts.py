"""What the registry's signer has receipted, held against the rows: what was removed with all that belongs to it.

A row that is gone with its receipt, revocation and nonces looks like one that never was; the signer's memory, which is
kept elsewhere, still has it. Never mends anything, and believes a list that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec
from sqlalchemy import select

from registry.database import Database
from registry.pins.finding import Finding
from registry.settings import SetupError
from registry.tables import receipts
from trust.receipted import Receipted

_ROWS: Final = 500
_SUBJECTS: Final = {"pin": "the pin", "completion": "the completion", "repin": "a new key", "act": "an act on a pin"}


def gone(database: Database, lines: Iterable[bytes]) -> Iterator[Finding]:
    """A finding for each receipt of the list (station-signer receipts) that is not here; SetupError if it is none."""
    said = _read(lines)
    while some := list(islice(said, _ROWS)):
        wanted = [each.statement_sha256 for each in some]
        query = select(receipts.c.statement_sha256).where(receipts.c.statement_sha256.in_(wanted))
        with database.read() as connection:
            here = set(connection.execute(query).scalars())
        yield from (_gone(each) for each in some if each.statement_sha256 not in here)


def _read(lines: Iterable[bytes]) -> Iterator[Receipted]:
    for number, line in enumerate(lines, 1):
        try:
            yield msgspec.json.decode(line, type=Receipted)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = f"--against: line {number} is no receipt ({error})"
            raise SetupError(f"{text}: give what station-signer receipts --dir DIR of the cloud signer says") from error


def _gone(said: Receipted) -> Finding:
    what = _SUBJECTS.get(said.subject, said.subject)
    text = f"missing: the signer receipted {what} of device {said.device_id} at {said.registered_at}"
    return Finding("receipts", said.statement_sha256, f"{text}, and nothing of it is here")
