"""What a ClientHello says of how the service may show its key (RFC 7250 §3). Pure, never refuses.

Whatever it cannot read it leaves to GnuTLS, which refuses it for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

CLIENT_HELLO: Final = 1
_SERVER_CERTIFICATE_TYPE: Final = 20
_RAW_PUBLIC_KEY: Final = 2
_VERSION_AND_RANDOM: Final = 34


def takes_raw_key(hello: bytes) -> bool:
    """Whether the body of a ClientHello names raw keys among what the service may show."""
    return any(
        kind == _SERVER_CERTIFICATE_TYPE and _RAW_PUBLIC_KEY in content[1:] for kind, content in _extensions(hello)
    )


def _extensions(hello: bytes) -> Iterator[tuple[int, bytes]]:
    rest = hello[_VERSION_AND_RANDOM:]
    for width in (1, 1, 2, 1, 2):  # session id, cookie, suites, compression; then the extensions themselves
        size = int.from_bytes(rest[:width])
        taken, rest = rest[width : width + size], rest[width + size :]
    while len(taken) >= 4:  # noqa: PLR2004 - type and length
        size = int.from_bytes(taken[2:4])
        yield int.from_bytes(taken[:2]), taken[4 : 4 + size]
        taken = taken[4 + size :]
