"""Signatures of people over documents in files, without a program for each: for tests that are about something else.

What `station-signer … approve` does is tried where it is typed: tests/hsm/test_checklist.py, test_prompts.py and others.
"""

from __future__ import annotations

from pathlib import Path

from hsm.approver import FileKey, read_key_file
from hsm.token.user_pin import UserPin
from trust.approval import approved
from trust.dsse import Envelope, Signature

_KEYS: dict[tuple[bytes, str], FileKey] = {}  # opening one costs as much as its passphrase is to cost a thief


def sign_by_hand(file: Path, *keys: tuple[Path, str]) -> None:
    """The signature of each of these keys (file, passphrase) over the document, whether it counts or not."""
    document = Envelope.from_json(file.read_bytes().strip())
    for place, passphrase in keys:
        key = _key(place, passphrase)
        document = approved(document, Signature(key.public.fingerprint, key.sign(document.pae)))
    file.write_bytes(document.to_json() + b"\n")


def _key(place: Path, passphrase: str) -> FileKey:
    known = (place.read_bytes(), passphrase)
    if known not in _KEYS:
        _KEYS[known] = read_key_file(place, UserPin(passphrase))
    return _KEYS[known]
