"""What the registry gave people who signed in from this machine: whoever guesses elsewhere keeps them not out here.

One small file beside the ledger, for its owner alone: by user id, a device's own token (docs/decisions/0027). It opens
nothing: whoever shows it has tries of his own. Never holds a password, a code or a session, and what cannot be read or
written here stops nobody from signing in.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

import given

_LOG = logging.getLogger(__name__)
_MOST = 100  # people at one station
_LONGEST = 64


def beside(database: Path) -> Path:
    """Where it is kept: beside the station's ledger."""
    return database.with_name("signed-in-here.json")


def shown(database: Path, user_id: str) -> str:
    """What this machine shows of itself when this person signs in; empty if it was given nothing yet."""
    return _read(database).get(user_id, "")


def keep(database: Path, user_id: str, token: str) -> None:
    """Remember what the registry has given; those who signed in longest ago go."""
    known = _read(database)
    if not token or known.get(user_id) == token or len(token) > _LONGEST or len(user_id) > _LONGEST:
        return
    known.pop(user_id, None)
    newest = dict([*known.items(), (user_id, token)][-_MOST:])
    path = beside(database)
    made = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(newest))
        made.replace(path)  # power lost before: the person has strangers' tries once more
    except OSError as error:
        _LOG.warning("%s cannot be written: %s", path, error.strerror)


def _read(database: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(given.read(beside(database)), type=dict[str, str])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _LOG.warning("%s cannot be read, and is made anew: %s", beside(database), error)
        return {}
