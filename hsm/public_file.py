"""`public.json`: a signer's public keys by purpose, for whoever makes the trust root. Written and read here alone.

Says which keys a token has, never which are trusted: that is the trust root's.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

import given
from hsm.config import SetupError
from trust.printable import plainly, quoted


def public_json(keys: Mapping[str, bytes]) -> bytes:
    """The file's text: purpose → base64 DER SubjectPublicKeyInfo."""
    named = {purpose: base64.b64encode(spki).decode() for purpose, spki in sorted(keys.items())}
    return (json.dumps(named, indent=2) + "\n").encode()


def read_public_file(path: Path, remedy: str) -> dict[str, bytes]:
    """The keys in the file by purpose; SetupError, which ends with the remedy."""
    try:
        keys = msgspec.json.decode(given.read(path), type=dict[str, str])
        return {purpose: base64.b64decode(spki, validate=True) for purpose, spki in keys.items()}
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}: {remedy}") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SetupError(f"{path} is no public.json of a signer: {quoted(error)}: {remedy}") from error
