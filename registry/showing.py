"""What the registry holds about one device, for people and scripts at its own console. Reads the database only."""

from __future__ import annotations

import msgspec

from registry.opening import open_database
from registry.pins import store
from registry.pins.store import Stored, StoredPin
from registry.settings import Home, SetupError
from trust.dsse import Envelope
from trust.identity import DeviceId, IdentityError
from trust.statement import PinStatement, read


def look_up(home: Home, device: str) -> StoredPin | None:
    """The stored pin; None without one. SetupError for a malformed id or a database that cannot be used."""
    try:
        wanted = DeviceId.parse(device)
    except IdentityError as error:
        raise SetupError(str(error)) from error
    database = open_database(home)
    try:
        with database.read() as connection:
            return store.load(connection, wanted)
    finally:
        database.close()


def as_text(pin: StoredPin) -> str:
    """A few lines for a terminal."""
    lines = [
        ("device", str(pin.device)),
        ("emulated", "yes" if read(pin.pin.statement, PinStatement).declared.emulated else "no"),
        ("state", pin.life or ("active" if pin.completion else "provisional")),
        ("key", pin.fingerprint),
        ("job", pin.job),
        ("order", f"{pin.order_id} {pin.order_sha256}"),
        ("pinned", _when(pin.pin)),
        ("completed", _when(pin.completion) if pin.completion else "no"),
    ]
    return "\n".join(f"{name:<10} {value}" for name, value in lines)


def as_json(pin: StoredPin) -> str:
    """One JSON object on one line; envelopes verbatim, null where nothing is stored."""
    done = pin.completion
    shown = {
        "device": str(pin.device),
        "state": pin.life or ("active" if done else "provisional"),
        "fingerprint": pin.fingerprint,
        "job": pin.job,
        "order_id": pin.order_id,
        "order_sha256": pin.order_sha256,
        "registered_at": pin.pin.registered_at,
        "statement": _raw(pin.pin.statement),
        "receipt": _raw(pin.pin.receipt),
        "completed_at": None if done is None else done.registered_at,
        "completion": None if done is None else _raw(done.statement),
        "completion_receipt": None if done is None else _raw(done.receipt),
    }
    return msgspec.json.encode(shown).decode()


def _when(stored: Stored) -> str:
    receipt = "receipt signed" if stored.receipt else "receipt not signed yet"
    return f"{stored.registered_at}, statement {stored.statement.payload_sha256}, {receipt}"


def _raw(envelope: Envelope | None) -> msgspec.Raw | None:
    return None if envelope is None else msgspec.Raw(envelope.to_json())
