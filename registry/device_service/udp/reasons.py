"""Why there is no session: words for counters, by GnuTLS's error numbers. Pure."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Reason(StrEnum):
    """One word for each thing that somebody has to do something else about."""

    NOT_PINNED = "not-pinned"
    NO_KEY = "no-key"
    BAD_SIGNATURE = "bad-signature"
    NOTHING_IN_COMMON = "nothing-in-common"
    REFUSED_BY_DEVICE = "refused-by-device"
    TIMED_OUT = "timed-out"
    CLOSED = "closed"
    RENEGOTIATION = "renegotiation"
    NOT_SIGNED = "not-signed"
    REPEATED = "repeated"
    FAULT = "fault"
    MALFORMED = "malformed"


_OF: Final = MappingProxyType({
    -8: Reason.NOTHING_IN_COMMON,  # version
    -12: Reason.REFUSED_BY_DEVICE,  # a fatal alert
    -21: Reason.NOTHING_IN_COMMON,  # suite
    -37: Reason.RENEGOTIATION,
    -43: Reason.NOT_PINNED,
    -46: Reason.NOT_SIGNED,
    -49: Reason.NO_KEY,
    -60: Reason.NOTHING_IN_COMMON,
    -61: Reason.NOTHING_IN_COMMON,  # certificate type
    -87: Reason.NOTHING_IN_COMMON,  # suites
    -89: Reason.BAD_SIGNATURE,
    -106: Reason.NOTHING_IN_COMMON,  # signatures
    -112: Reason.NO_KEY,
    -319: Reason.TIMED_OUT,
    -320: Reason.FAULT,
    -321: Reason.NOTHING_IN_COMMON,  # curves
    -322: Reason.NOTHING_IN_COMMON,
})  # fmt: skip


def reason_of(code: int) -> Reason:
    """The word for an error number; what is not in the table is a message that is none."""
    return _OF.get(code, Reason.MALFORMED)
