"""The service's end of one DTLS 1.2 association, over two queues of datagrams instead of a socket.

One thread at a time may call it. What its callbacks raise ends what was called and is raised again here, never in C:
there it could be taken for a yes. GnuTLS keeps time by its own clock.
"""

from __future__ import annotations

import ctypes
import errno
import weakref
from collections import deque
from collections.abc import Callable
from ctypes import byref, c_uint
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from registry.device_service.udp.gnutls import library as c
from registry.device_service.udp.gnutls.credentials import Credentials
from registry.device_service.udp.gnutls.hello import CLIENT_HELLO, takes_raw_key
from registry.device_service.udp.gnutls.library import Datum, GnuTlsError, Prestate

# ECDHE-ECDSA on P-256 with AES-128 in CCM-8 or GCM, and nothing beside.
RAW_PRIORITY: Final = (
    b"NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+AES-128-CCM-8:+AES-128-GCM:+AEAD:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+COMP-NULL"
    b":+CTYPE-CLI-RAWPK:+CTYPE-CLI-X509:+CTYPE-SRV-RAWPK"
)
PRIORITY: Final = RAW_PRIORITY + b":+CTYPE-SRV-X509"
LONGEST: Final = 2_048
"""Bytes of a datagram that are looked at."""

_SERVER, _DATAGRAM, _NONBLOCK, _NO_TICKETS, _RAW_KEYS = 1, 1 << 2, 1 << 3, 1 << 10, 1 << 18
_REQUIRED: Final = 2
_PEERS: Final = 3
_CERTIFICATE, _RAW = 1, 3
_ANY_MESSAGE: Final = 0xFFFF_FFFF
_BEFORE: Final = 0
_MOST_HANDSHAKE: Final = 4_096
_SEND_NO_MORE: Final = 1
_REHANDSHAKE: Final = -37
_IDLE: Final = 3


class CallbackError(GnuTlsError):
    """A callback has raised its cause, and so the call has failed."""


class Presented(StrEnum):
    """How a device has shown its key."""

    RAW_KEY = "raw-key"
    CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a flight is sent again for the first time, and when a handshake is given up."""

    retransmit_ms: int = 1_000  # less, and a slow line gets everything several times
    total_ms: int = 60_000


Verifier = Callable[[bytes, Presented], bool]
"""Whether the device with this SubjectPublicKeyInfo may come in. It has not proved yet that the key is its own."""
Observer = Callable[[int, bool, bytes], None]
"""Gets each handshake message: its type, whether it came in, and its body."""


class Endpoint:
    """`incoming` is what the next call reads, `outgoing` what calls have sent."""

    def __init__(
        self,
        credentials: Credentials,
        verify: Verifier,
        observe: Observer,
        *,
        mtu: int,
        timing: Timing,
        prestate: Prestate | None,
    ) -> None:
        self._credentials, self._library = credentials, credentials.library  # held for as long as the session is
        self._verify, self._observe = verify, observe
        self.incoming: deque[bytes] = deque()
        self.outgoing: deque[bytes] = deque()
        self._raised: BaseException | None = None
        new, ask = self._library.new, self._library.ask
        self._handle = new("gnutls_init", _SERVER | _DATAGRAM | _NONBLOCK | _NO_TICKETS | _RAW_KEYS)
        self._freed = weakref.finalize(self, ask, "gnutls_deinit", self._handle)
        self._library.must("gnutls_priority_set_direct", self._handle, PRIORITY, None)
        self._library.must("gnutls_credentials_set", self._handle, c.CERTIFICATE_CREDENTIALS, credentials.handle)
        ask("gnutls_session_set_keylog_function", self._handle, None)  # or SSLKEYLOGFILE has every session's secret
        ask("gnutls_certificate_server_set_request", self._handle, _REQUIRED)
        ask("gnutls_handshake_set_max_packet_length", self._handle, _MOST_HANDSHAKE)
        ask("gnutls_dtls_set_mtu", self._handle, mtu)
        ask("gnutls_dtls_set_timeouts", self._handle, timing.retransmit_ms, timing.total_ms)
        if prestate is not None:
            ask("gnutls_dtls_prestate_set", self._handle, byref(prestate))
        self._callbacks = self._set_callbacks()

    def handshake(self) -> bool:
        """Go on with what is in the queue or due; whether it is done. GnuTlsError, of it CallbackError."""
        return self._until_read("handshake", lambda: self._library.ask("gnutls_handshake", self._handle)) == 0

    def receive(self) -> bytes | None:
        """The next message, empty if the peer has closed; None if none is whole."""
        room = ctypes.create_string_buffer(LONGEST)
        arguments = self._handle, room, LONGEST
        size = self._until_read("receiving", lambda: self._library.ask("gnutls_record_recv", *arguments))
        return room.raw[:size] if size >= 0 else None

    def _until_read(self, what: str, call: Callable[[], int]) -> int:
        """What it returns at last: at once if that is no error, and otherwise AGAIN, when there is nothing to read.

        GnuTLS may answer AGAIN without a look at the queue, when it has sent something again: so it is asked once more.
        """
        idle = 0
        while True:
            waiting = len(self.incoming)
            code = call()
            self._raise_kept(code)
            if code >= 0:
                return code
            idle = idle + 1 if len(self.incoming) == waiting else 0
            if code == c.AGAIN and (not self.incoming or idle > _IDLE):
                return code
            self._require_harmless(code, what)
            if idle > _IDLE:
                raise GnuTlsError(code, f"{what} comes to no end")

    def send(self, message: bytes) -> None:
        """As one record in one datagram; it has 1 to `most_bytes`."""
        code = self._library.ask("gnutls_record_send", self._handle, message, len(message))
        self._raise_kept(code)
        if code < 0:
            raise GnuTlsError(code, f"sending: {self._library.says(code)}")

    def alert(self, error: GnuTlsError) -> None:
        """Tell the peer by the alert that the library has for this error, if it has one."""
        self._library.ask("gnutls_alert_send_appropriate", self._handle, error.code)

    def bye(self) -> None:
        """Tell the peer that nothing more comes."""
        self._library.ask("gnutls_bye", self._handle, _SEND_NO_MORE)

    @property
    def most_bytes(self) -> int:
        """Of a message, once the suite is known."""
        return int(self._library.ask("gnutls_dtls_get_data_mtu", self._handle))

    @property
    def due_ms(self) -> int:
        """Until `handshake` has to be called though nothing came."""
        return int(self._library.ask("gnutls_dtls_get_timeout", self._handle))

    @property
    def cipher(self) -> str:
        """The library's name of the cipher."""
        number = self._library.ask("gnutls_cipher_get", self._handle)
        return str(self._library.ask("gnutls_cipher_get_name", number).decode())

    # ---- callbacks

    def _set_callbacks(self) -> tuple[Any, ...]:
        """Held by whom they are for; weakly bound, so that they do not keep an endpoint that nobody has any more."""
        push, pull = c.Push(self._kept(Endpoint._push, -1)), c.Pull(self._kept(Endpoint._pull, -1))
        ready = c.PullTimeout(self._kept(Endpoint._ready, -1))
        verify = c.Verify(self._kept(Endpoint._verified, c.CERTIFICATE_ERROR))
        hook = c.Hook(self._kept(Endpoint._observed, c.USER_ERROR))
        ask = self._library.ask
        ask("gnutls_transport_set_push_function", self._handle, push)
        ask("gnutls_transport_set_pull_function", self._handle, pull)
        ask("gnutls_transport_set_pull_timeout_function", self._handle, ready)
        ask("gnutls_session_set_verify_function", self._handle, verify)
        ask("gnutls_handshake_set_hook_function", self._handle, _ANY_MESSAGE, _BEFORE, hook)
        return push, pull, ready, verify, hook

    def _kept(self, act: Callable[..., int], refusal: int) -> Callable[..., int]:
        weak = weakref.ref(self)

        def callback(_handle: Any, *arguments: Any) -> int:
            me = weak()
            if me is None:
                return refusal
            try:
                return act(me, *arguments)
            except BaseException as error:  # noqa: BLE001 - nothing may be raised into C: what comes of it there is anything
                me._raised = error  # noqa: SLF001 - its own
                return refusal

        return callback

    def _push(self, data: int, size: int) -> int:
        self.outgoing.append(ctypes.string_at(data, size))
        return size

    def _pull(self, room: int, size: int) -> int:
        if not self.incoming:
            self._library.ask("gnutls_transport_set_errno", self._handle, errno.EAGAIN)
            return -1
        datagram = self.incoming.popleft()[:size]
        ctypes.memmove(room, datagram, len(datagram))
        return len(datagram)

    def _ready(self, _within_ms: int) -> int:
        return int(bool(self.incoming))

    def _verified(self) -> int:
        shown = self._shown()
        return 0 if shown is not None and self._verify(*shown) is True else c.CERTIFICATE_ERROR

    def _observed(self, kind: int, _when: int, incoming: int, body: Any) -> int:
        message = body.contents.read()
        self._observe(kind, bool(incoming), message)
        if incoming and kind == CLIENT_HELLO and takes_raw_key(message):
            # GnuTLS goes by the client's order, and some name certificates first that they then refuse.
            self._library.must("gnutls_priority_set_direct", self._handle, RAW_PRIORITY, None)
        return 0

    # ---- the peer's key

    def _shown(self) -> tuple[bytes, Presented] | None:
        count = c_uint()
        first = self._library.ask("gnutls_certificate_get_peers", self._handle, byref(count))
        if not first or not count.value:
            return None
        raw = first[0].read()
        kind = self._library.ask("gnutls_certificate_type_get2", self._handle, _PEERS)
        if kind == _RAW:
            return raw, Presented.RAW_KEY
        return (self._spki_in(raw), Presented.CERTIFICATE) if kind == _CERTIFICATE else None

    def _spki_in(self, certificate: bytes) -> bytes:
        """The key by which the library verifies, never what another parser would find; it must stand there as it is."""
        must, ask = self._library.must, self._library.ask
        public, parsed = self._library.new("gnutls_pubkey_init"), self._library.new("gnutls_x509_crt_init")
        try:
            must("gnutls_x509_crt_import", parsed, byref(Datum.of(certificate)), c.DER)
            must("gnutls_pubkey_import_x509", public, parsed, 0)
            exported = Datum()
            must("gnutls_pubkey_export2", public, c.DER, byref(exported))
        finally:
            ask("gnutls_x509_crt_deinit", parsed)
            ask("gnutls_pubkey_deinit", public)
        spki = self._library.take(exported)
        return spki if spki in certificate else b""

    # ---- errors

    def _raise_kept(self, code: int) -> None:
        raised, self._raised = self._raised, None
        if raised is None:
            return
        if not isinstance(raised, Exception):  # an interrupt, say, is nobody's fault and ends more than this
            raise raised
        raise CallbackError(code if code < 0 else c.USER_ERROR, repr(raised)) from raised

    def _require_harmless(self, code: int, what: str) -> None:
        if self._library.ask("gnutls_error_is_fatal", code) or code == _REHANDSHAKE:
            failure = self._credentials.failure()
            if failure is not None and not isinstance(failure, Exception):
                raise failure
            raise GnuTlsError(code, f"{what}: {self._library.says(code)}") from failure
