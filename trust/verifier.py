"""Verifiers of passwords and badges: Argon2id (RFC 9106), for the registry and for a station that is offline.

Pure, and slow on purpose: who calls it sees to it that it runs where it keeps nobody waiting. Never imported where keys
are signed with.
"""

from __future__ import annotations

import base64
import re
import secrets
import unicodedata
from typing import Final, NamedTuple

from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION, Type, hash_secret, hash_secret_raw, verify_secret

SALT_BYTES: Final = 16  # RFC 9106 §3.1: 128 bits are enough for all applications
HASH_BYTES: Final = 32
MAX_SECRET_BYTES: Final = 1024
_MOST: Final = (1_048_576, 16, 16)  # 1 GiB, passes, lanes: more is nobody's verifier, and would stop a station


class Cost(NamedTuple):
    """What one evaluation takes: KiB of memory, passes over it, lanes."""

    memory_kib: int
    passes: int
    lanes: int


PASSWORD: Final = Cost(65_536, 3, 4)  # RFC 9106 §4, second recommended option; above OWASP's floor (19 MiB, 2, 1)
BADGE: Final = Cost(19_456, 2, 1)  # OWASP Password Storage Cheat Sheet, Argon2id: a reader is not kept waiting
_FORM: Final = re.compile(
    r"\A\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]?),p=([1-9][0-9]?)\$([A-Za-z0-9+/]{22})(?:\$[A-Za-z0-9+/]{43})?\Z"
)


def normal(password: str) -> str:
    """One spelling, whatever keyboard it was typed on (NIST SP 800-63B-4 §3.1.1.2: NFKC before it is hashed)."""
    return unicodedata.normalize("NFKC", password)


def verifier(secret: str, cost: Cost = PASSWORD) -> str:
    """A verifier with a fresh salt, as one line (PHC string format)."""
    salt = secrets.token_bytes(SALT_BYTES)
    return hash_secret(_bytes(secret), salt, cost.passes, cost.memory_kib, cost.lanes, HASH_BYTES, Type.ID).decode()


def holds(kept: str, secret: str) -> bool:
    """Whether the secret is the one of this verifier; False for what is no verifier, or longer than any secret."""
    if not is_verifier(kept):
        return False
    try:
        return verify_secret(kept.encode(), _bytes(secret), Type.ID)
    except (VerificationError, InvalidHashError, ValueError):
        return False


def is_verifier(text: str) -> bool:
    """Whether this is a verifier of ours: Argon2id, 16 bytes of salt, 32 of hash, within what a station can bear."""
    return _cost(text) is not None and text.count("$") == 5  # noqa: PLR2004 - the form's own


def is_stale(kept: str, cost: Cost = PASSWORD) -> bool:
    """Whether the verifier costs less than is asked for now: to be made anew when the password is known next."""
    found = _cost(kept)
    return found is None or found != cost


def badge_salt(cost: Cost = BADGE) -> str:
    """What all badges of one registry share, so that one evaluation finds a person among all: a verifier's head."""
    salt = base64.b64encode(secrets.token_bytes(SALT_BYTES)).rstrip(b"=").decode()
    return f"$argon2id$v={ARGON2_VERSION}$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}"


def is_badge_salt(text: str) -> bool:
    """Whether this is such a head, within what a station can bear."""
    return _cost(text) is not None and text.count("$") == 4  # noqa: PLR2004 - the form's own


def badge_hash(badge: str, salt: str) -> str:
    """The badge's hash under the shared salt: 43 characters of base64. ValueError for what is no such salt."""
    cost = _cost(salt)
    if cost is None or not is_badge_salt(salt):
        raise ValueError("not a badge salt")
    raw = base64.b64decode(salt.rsplit("$", 1)[1] + "==")
    found = hash_secret_raw(_bytes(badge), raw, cost.passes, cost.memory_kib, cost.lanes, HASH_BYTES, Type.ID)
    return base64.b64encode(found).rstrip(b"=").decode()


def _cost(text: str) -> Cost | None:
    found = _FORM.match(text)
    if found is None:
        return None
    cost = Cost(*(int(each) for each in found.groups()[:3]))
    bearable = all(asked <= most for asked, most in zip(cost, _MOST, strict=True))
    return cost if bearable and cost.memory_kib >= 8 * cost.lanes else None


def _bytes(secret: str) -> bytes:
    data = secret.encode()
    if len(data) > MAX_SECRET_BYTES:
        raise ValueError(f"a secret takes at most {MAX_SECRET_BYTES} bytes")
    return data
