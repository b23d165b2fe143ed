"""Cookies: who sends a hello must be where it says it is before anything is kept or computed for it (RFC 6347 §4.2.1).

That goes for an address that has a session too: a device that has started again is heard by its cookie, and the old
session stands until then, since it drops every hello. An answer is never longer than what it answers, so that nobody is
flooded by way of this service. Keeps two keys, so that a cookie lives for one to two turns; nothing of a client.
"""

from __future__ import annotations

import ctypes
import secrets
from ctypes import byref, c_void_p
from typing import Any, Final

from registry.device_service.udp.gnutls import library as c
from registry.device_service.udp.gnutls.library import Datum, Library, Prestate

KEY_BYTES: Final = 16
SHORTEST_HELLO: Final = 67
"""Bytes of a ClientHello with one suite and nothing that may be left out; a HelloVerifyRequest has less."""
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MAJOR: Final = 254
_RECORD: Final = 13


class Cookies:
    """The keys of one process. Cheap: no signature, no session."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._keys = [_fresh(), _fresh()]

    def turn(self) -> None:
        """A new key from now on; what was made with the one before the last is good no more."""
        self._keys = [_fresh(), self._keys[0]]

    def verified(self, client: bytes, hello: bytes) -> Prestate | None:
        """What begins the session of a hello with this client's cookie in it; None for everything else."""
        if not is_hello(hello):
            return None
        for key in self._keys:
            state = Prestate()
            words = (client, len(client), hello, len(hello), byref(state))
            if self._library.ask("gnutls_dtls_cookie_verify", byref(Datum.of(key)), *words) == 0:
                return state
        return None

    def question(self, client: bytes, hello: bytes) -> bytes | None:
        """The HelloVerifyRequest for it, or None for what is no hello and gets no answer.

        `client` is where it comes from: any bytes that are the same for the next datagram, and for nobody else.
        """
        if not is_hello(hello):
            return None
        sent: list[bytes] = []

        def push(_pointer: Any, data: int, size: int) -> int:
            sent.append(ctypes.string_at(data, size))
            return size

        state = Prestate()
        words = (client, len(client), byref(state), c_void_p(), c.Push(push))
        self._library.must("gnutls_dtls_cookie_send", byref(Datum.of(self._keys[0])), *words)
        return b"".join(sent)


def is_hello(datagram: bytes) -> bool:
    """Whether it begins as a ClientHello of the first epoch does, whole and long enough to be answered."""
    return (
        len(datagram) >= SHORTEST_HELLO
        and (datagram[0], datagram[1]) == (_HANDSHAKE, _MAJOR)
        and datagram[3:5] == b"\0\0"
        and datagram[_RECORD] == _CLIENT_HELLO
        and datagram[_RECORD + 6 : _RECORD + 9] == b"\0\0\0"
        and datagram[_RECORD + 1 : _RECORD + 4] == datagram[_RECORD + 9 : _RECORD + 12]
    )


def _fresh() -> bytes:
    return secrets.token_bytes(KEY_BYTES)
