"""One-time codes by time (TOTP, RFC 6238): a secret, its enrolment, and which time step a code is of.

Pure. Never remembers which step was accepted: that is a compare-and-set in the database (`registry.people.accounts`).
"""

from __future__ import annotations

import hmac
from typing import Final

import pyotp

STEP_S: Final = 30  # RFC 6238 §5.2 recommends it
DIGITS: Final = 6
_SECRET_CHARACTERS: Final = 32  # of base32: 160 bits, the length of HMAC-SHA-1's output (RFC 4226 §4, R6)
_STEPS_AROUND: Final = 1  # a phone's clock, and the time of typing (RFC 6238 §5.2: one step at most for the network)


def new_secret() -> str:
    """A fresh secret, base32."""
    return pyotp.random_base32(_SECRET_CHARACTERS)


def enrolment(secret: str, *, user: str, issuer: str) -> str:
    """The otpauth URI that an authenticator scans (Key Uri Format). The id stands in it, and no name."""
    return pyotp.TOTP(secret, digits=DIGITS, interval=STEP_S).provisioning_uri(name=user, issuer_name=issuer)


def step_of(secret: str, code: str, *, now_s: float) -> int | None:
    """The newest time step around now whose code this is; None if it is none's. All steps are always looked at."""
    codes = pyotp.HOTP(secret, digits=DIGITS)
    found = None
    present = int(now_s) // STEP_S
    for step in range(present - _STEPS_AROUND, present + _STEPS_AROUND + 1):
        if hmac.compare_digest(codes.at(step).encode(), code.encode()):
            found = step
    return found
