"""A load balancer's PROXY header: read in its exact form, whatever the pieces, and never a byte of what follows."""

from __future__ import annotations

import random

import pytest

from registry.proxy_header import HeaderError, ProxyHeader

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00"
FOUR = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (4711).to_bytes(2) + (443).to_bytes(2)
SIX = bytes.fromhex("20010db8" + "0" * 23 + "7" + "20010db8" + "0" * 23 + "1") + (4711).to_bytes(2) + (443).to_bytes(2)


def block(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


GOOD = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n": ("192.0.2.7", 4711),
    b"PROXY TCP6 2001:DB8::7 2001:db8::1 4711 443\r\n": ("2001:db8::7", 4711),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ("255.255.255.255", 65535),
    b"PROXY UNKNOWN\r\n": None,
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": None,
    block(0x21, 0x11, FOUR): ("192.0.2.7", 4711),
    block(0x21, 0x21, SIX): ("2001:db8::7", 4711),
    block(0x21, 0x11, FOUR + b"\x04\x00\x10" + b"\0" * 16): ("192.0.2.7", 4711),  # with what it tells beside
    block(0x20, 0x00, b""): None,
    block(0x20, 0x11, FOUR): None,  # LOCAL: its own health check, whatever it says
    block(0x21, 0x00, b"abc"): None,
}
BAD = {
    "TLS and no header": HELLO,
    "HTTP": b"GET / HTTP/1.1\r\n",
    "nothing of it": b"\0" * 16,
    "no end": b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443" + b" " * 80,
    "LF alone": b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\n",
    "two spaces": b"PROXY TCP4  192.0.2.7 198.51.100.1 4711 443\r\n",
    "lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
    "other family": b"PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
    "UDP": b"PROXY UDP4 192.0.2.7 198.51.100.1 4711 443\r\n",
    "octal": b"PROXY TCP4 192.0.02.7 198.51.100.1 4711 443\r\n",
    "a zone": b"PROXY TCP6 fe80::1%1 2001:db8::1 4711 443\r\n",
    "a port too large": b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
    "a port with a zero": b"PROXY TCP4 192.0.2.7 198.51.100.1 0471 443\r\n",
    "a name": b"PROXY TCP4 localhost 198.51.100.1 4711 443\r\n",
    "one address": b"PROXY TCP4 192.0.2.7 4711 443\r\n",
    "UNKNOWN and a control character": b"PROXY UNKNOWN \x01\r\n",
    "version 1 in a block": block(0x11, 0x11, FOUR),
    "another command": block(0x22, 0x11, FOUR),
    "UDP in a block": block(0x21, 0x12, FOUR),
    "a UNIX socket": block(0x21, 0x31, b"/" * 216),
    "too short": block(0x21, 0x11, FOUR[:-1]),
    "six in four": block(0x21, 0x21, FOUR),
    "too long": block(0x21, 0x11, FOUR + b"\0" * 2048),
    "longer than anything": SIGNATURE + b"\x21\x11\xff\xff",
}


def taken(sent: bytes, size: int) -> tuple[ProxyHeader, int]:
    """The header that was read in such pieces, and how many bytes that took."""
    header, at = ProxyHeader(), 0
    while header.wants and at < len(sent):
        piece = sent[at : at + min(header.wants, size)]
        at += len(piece)
        header.feed(piece)
    return header, at


@pytest.mark.parametrize("size", [1, 3, 4096])
@pytest.mark.parametrize("sent", GOOD, ids=range(len(GOOD)))
def test_exactly_the_header_is_taken(sent: bytes, size: int) -> None:
    header, took = taken(sent + HELLO, size)
    assert (header.wants, header.source, took) == (0, GOOD[sent], len(sent))


@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize("name", BAD)
def test_anything_else_is_refused(name: str, size: int) -> None:
    with pytest.raises(HeaderError):
        taken(BAD[name], size)


@pytest.mark.parametrize("sent", GOOD, ids=range(len(GOOD)))
def test_a_part_of_one_is_none_yet(sent: bytes) -> None:
    for end in range(len(sent)):
        header, took = taken(sent[:end], 4096)
        assert (header.wants > 0, took) == (True, end)


def test_bytes_by_chance_never_make_an_address() -> None:
    """Control: of the headers with one byte changed some are still good ones."""
    dice, good = random.Random(4711), list(GOOD)
    still = 0
    for _ in range(20_000):
        sent = bytearray(dice.choice(good))
        sent[dice.randrange(len(sent))] = dice.randrange(256)
        try:
            header, _ = taken(bytes(sent), 4096)
        except HeaderError:
            continue
        still += header.wants == 0 and header.source is not None
    assert still > 0
    for _ in range(5_000):
        with pytest.raises(HeaderError):
            taken(dice.randbytes(64), 4096)
