"""Records in datagrams, of which RFC 6347 §4.1.1 lets one hold several. Pure.

Out, a flight goes in as few as it fits into: GnuTLS sends one for each record, and at a bench each is a round trip. In,
GnuTLS gets one record at a time: of several it drops all that stand behind one of an earlier epoch, and so would not
notice that a device says its last flight again because it has not heard ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_APPLICATION_DATA: Final = 23
_HEADER: Final = 13


def packed(datagrams: Iterable[bytes], mtu: int) -> list[bytes]:
    """The same records in the same order, in datagrams of at most `mtu` bytes if none was longer before."""
    found: list[bytes] = []
    for each in datagrams:
        if found and _APPLICATION_DATA not in {each[0], found[-1][0]} and len(found[-1]) + len(each) <= mtu:
            found[-1] += each
        else:
            found.append(each)
    return found


def unpacked(datagram: bytes) -> list[bytes]:
    """Each whole record by itself. What is left at the end and is none is dropped here.

    GnuTLS keeps the beginning of one for the next datagram, which it then takes for the rest: a forged one of a few
    bytes would cost an honest one, or several.
    """
    found: list[bytes] = []
    rest = datagram
    while len(rest) >= _HEADER and (end := _HEADER + int.from_bytes(rest[11:13])) <= len(rest):
        found.append(rest[:end])
        rest = rest[end:]
    return found
