"""Publishing in one call, for tests that hold the log's key in memory; the station asks its signer between the two halves."""

from __future__ import annotations

from collections.abc import Callable

from ledger.engine import Engine, writing
from ledger.publish import ROUNDS, prepare, store
from trust.signed_note import Checkpoint, Head, NoteKey

Sign = Callable[[Head], str]


def publish(engine: Engine, key: NoteKey, sign: Sign) -> Checkpoint | None:
    """Have every leaf covered by a checkpoint; the newest one stored, or None if all were covered."""
    newest: Checkpoint | None = None
    for _ in range(ROUNDS):
        with writing(engine) as connection:
            head = prepare(connection, key.name)
        if head is None:
            break
        note = sign(head)
        with writing(engine) as connection:
            newest = store(connection, head, note, key)
    return newest
