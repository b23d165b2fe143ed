"""The head that a load balancer puts before a connection to say from where it came: PROXY protocol, versions 1 and 2.

Source: proxy-protocol.txt of haproxy.org, 2020/03/05, §2. Takes exactly the header's own bytes, so that what follows is
left to TLS, and only in its exact form. Never decides whom to believe (`registry.behind`).
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107  # with CR LF (§2.1)
_V2_FIXED: Final = 16
_V2_LONGEST: Final = 2048  # addresses and whatever a balancer tells beside them
_LOCAL, _PROXIED = 0x20, 0x21
_FAMILIES: Final = {0x11: (ipaddress.IPv4Address, 4), 0x21: (ipaddress.IPv6Address, 16)}  # over TCP
_UNKNOWN_FAMILY: Final = 0x00
_LINE: Final = re.compile(
    rb"PROXY (?:(TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
    rb"|UNKNOWN(?: [\x20-\x7e]*)?)\r\n"
)
_TEXT_FAMILIES: Final = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}
_PORTS: Final = 0xFFFF
Source = tuple[str, int]


class HeaderError(Exception):
    """What came is no such header; the text says what is wrong with it."""


class ProxyHeader:
    """One header, as it comes in. `wants`: how many bytes of it are still to come at the most; 0 when it is complete.

    `source`: the client's address and port then; None if the balancer speaks for itself, as its health checks do.
    """

    def __init__(self) -> None:
        self._taken = b""
        self.wants = len(_V2)  # the shortest header has three bytes more
        self.source: Source | None = None

    def feed(self, data: bytes) -> None:
        """Take in at most `wants` bytes; HeaderError as soon as it cannot be a header any more."""
        self._taken += data
        if self._taken[: len(_V2)] == _V2[: len(self._taken)]:
            self._feed_binary()
        elif self._taken[: len(_V1)] == _V1[: len(self._taken)]:
            self._feed_line()
        else:
            raise HeaderError("it begins as no header does")

    def _feed_line(self) -> None:
        taken = self._taken
        if len(taken) < len(_V2):
            self.wants = len(_V2) - len(taken)
        elif not taken.endswith(b"\n"):
            if len(taken) >= _V1_LONGEST:
                raise HeaderError("its line has no end")
            self.wants = 1  # not a byte of what comes behind it
        else:
            self.wants, self.source = 0, _of_line(taken)

    def _feed_binary(self) -> None:
        taken = self._taken
        if len(taken) < _V2_FIXED:
            self.wants = _V2_FIXED - len(taken)
            return
        length = int.from_bytes(taken[14:_V2_FIXED])
        if taken[12] not in {_LOCAL, _PROXIED} or length > _V2_LONGEST:
            raise HeaderError("its version or command is not known, or it is too long")
        self.wants = _V2_FIXED + length - len(taken)
        if self.wants == 0:
            self.source = None if taken[12] == _LOCAL else _of_block(taken[13], taken[_V2_FIXED:])


def _of_line(line: bytes) -> Source | None:
    found = _LINE.fullmatch(line)
    if found is None:
        raise HeaderError("its line is not as §2.1 has it")
    if found[1] is None:
        return None
    ports = int(found[4]), int(found[5])
    try:
        source, _ = (_TEXT_FAMILIES[found[1]](each.decode()) for each in (found[2], found[3]))
    except ValueError as error:
        raise HeaderError("it has an address that is none of its family") from error
    if max(ports) > _PORTS:
        raise HeaderError("it has a port that is none")
    return str(source), ports[0]


def _of_block(family: int, block: bytes) -> Source | None:
    if family == _UNKNOWN_FAMILY:
        return None
    if family not in _FAMILIES:
        raise HeaderError("it is about something else than TCP")
    kind, size = _FAMILIES[family]
    if len(block) < 2 * size + 4:
        raise HeaderError("it is too short for its addresses")
    return str(kind(block[:size])), int.from_bytes(block[2 * size : 2 * size + 2])
