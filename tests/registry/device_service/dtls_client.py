"""A device's end of DTLS 1.2 by GnuTLS's client, in memory, with few of a device's scruples. Its own calls by ctypes.

It shares no line with the service's binding, so that a wrong type or number there is no secret between the two.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import errno
import weakref
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

PRIORITY = (
    "NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+{cipher}:+AEAD:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+COMP-NULL"
    ":+CTYPE-SRV-{kind}:+CTYPE-CLI-{kind}"
)
RAW, CERTIFICATE = "RAWPK", "X509"

PUSH = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
WAIT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


class Text(ctypes.Structure):
    _fields_ = (("at", ctypes.c_char_p), ("size", ctypes.c_uint))


def text(raw: bytes) -> Any:
    return ctypes.byref(Text(raw, len(raw)))


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def self_signed(key: ec.EllipticCurvePrivateKey, name: str = "d") -> bytes:
    """As a device makes one for itself, DER."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    first, last = (
        dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2049, 12, 31, tzinfo=dt.UTC),
    )
    return (
        builder.serial_number(1).not_valid_before(first).not_valid_after(last).sign(key, hashes.SHA256())
    ).public_bytes(Encoding.DER)


@dataclass
class Client:
    """`shows` is the key in its certificate or message, `signs` the one that it has."""

    shows: ec.EllipticCurvePrivateKey | None
    signs: ec.EllipticCurvePrivateKey | None = None
    kind: str = RAW
    cipher: str = "AES-128-CCM-8"
    cloud: bytes | None = None
    retransmit_ms: int = 100
    mtu: int = 800
    priority: str | None = None
    inbox: deque[bytes] = field(default_factory=deque)
    outbox: deque[bytes] = field(default_factory=deque)
    done: bool = False
    failed: int = 0

    def __post_init__(self) -> None:
        self.c = ctypes.CDLL("libgnutls.so.30")
        self.credentials = ctypes.c_void_p()
        assert self.c.gnutls_certificate_allocate_credentials(ctypes.byref(self.credentials)) == 0
        self.c.gnutls_certificate_set_flags(self.credentials, 1)
        if self.shows is not None:
            self._load(self.shows, self.signs or self.shows)
        self.session = ctypes.c_void_p()
        assert self.c.gnutls_init(ctypes.byref(self.session), 2 | 4 | 8 | 1 << 18) == 0
        words = self.priority or PRIORITY.format(cipher=self.cipher, kind=self.kind)
        assert self.c.gnutls_priority_set_direct(self.session, words.encode(), None) == 0, words
        assert self.c.gnutls_credentials_set(self.session, 1, self.credentials) == 0
        self.c.gnutls_dtls_set_timeouts(self.session, self.retransmit_ms, 20_000)
        self.c.gnutls_dtls_set_mtu(self.session, self.mtu)
        self.calls = (PUSH(self._push), PUSH(self._pull), WAIT(lambda _, __: bool(self.inbox)))
        self.c.gnutls_transport_set_push_function(self.session, self.calls[0])
        self.c.gnutls_transport_set_pull_function(self.session, self.calls[1])
        self.c.gnutls_transport_set_pull_timeout_function(self.session, self.calls[2])
        weakref.finalize(self, _freed, self.c, self.session, self.credentials)

    def _load(self, shows: ec.EllipticCurvePrivateKey, signs: ec.EllipticCurvePrivateKey) -> None:
        key = signs.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        if self.kind == RAW:
            code = self.c.gnutls_certificate_set_rawpk_key_mem(
                self.credentials, text(spki_of(shows)), text(key), 0, None, 128, None, 0, 0
            )
        else:
            code = self.c.gnutls_certificate_set_x509_key_mem(
                self.credentials, text(self.certificate(shows)), text(key), 0
            )
        assert code >= 0, code

    def certificate(self, shows: ec.EllipticCurvePrivateKey) -> bytes:
        return self_signed(shows)

    def _push(self, _: Any, data: int, size: int) -> int:
        self.outbox.append(ctypes.string_at(data, size))
        return size

    def _pull(self, _: Any, room: int, size: int) -> int:
        if not self.inbox:
            self.c.gnutls_transport_set_errno(self.session, errno.EAGAIN)
            return -1
        datagram = self.inbox.popleft()[:size]
        ctypes.memmove(room, datagram, len(datagram))
        return len(datagram)

    def step(self) -> list[bytes]:
        """Go on; messages that came. `failed` is GnuTLS's error."""
        if not self.done and not self.failed:
            code = self.c.gnutls_handshake(self.session)
            while code < 0 and not self.c.gnutls_error_is_fatal(code) and (code != -28 or self.inbox):
                code = self.c.gnutls_handshake(self.session)
            self.done = code == 0
            if self.c.gnutls_error_is_fatal(code):
                self._fail(code)
            elif self.done and self.cloud is not None and self.server_spki() != self.cloud:
                self._fail(-43)
        return self._received() if self.done and not self.failed else []

    def _fail(self, code: int) -> None:
        self.failed = code
        self.c.gnutls_alert_send_appropriate(self.session, code)

    def _received(self) -> list[bytes]:
        room, found = ctypes.create_string_buffer(2048), []
        while True:
            size = self.c.gnutls_record_recv(self.session, room, 2048)
            if size == -28:
                return found
            if size <= 0:
                self.failed = size or -1
                return found
            found.append(room.raw[:size])

    def send(self, message: bytes) -> None:
        assert self.c.gnutls_record_send(self.session, message, len(message)) == len(message)

    def bye(self) -> None:
        assert self.c.gnutls_bye(self.session, 1) == 0

    def due_s(self) -> float:
        return self.c.gnutls_dtls_get_timeout(self.session) / 1000

    def server_spki(self) -> bytes:
        """As the cloud has shown it, raw or in a certificate."""
        count = ctypes.c_uint()
        self.c.gnutls_certificate_get_peers.restype = ctypes.POINTER(Text)
        first = self.c.gnutls_certificate_get_peers(self.session, ctypes.byref(count))
        raw = ctypes.string_at(
            ctypes.cast(ctypes.addressof(first[0]), ctypes.POINTER(ctypes.c_void_p))[0], first[0].size
        )
        if self.kind == RAW:
            return raw
        public = x509.load_der_x509_certificate(raw).public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _freed(c: ctypes.CDLL, session: ctypes.c_void_p, credentials: ctypes.c_void_p) -> None:
    """A campaign makes a million of them."""
    c.gnutls_deinit(session)
    c.gnutls_certificate_free_credentials(credentials)
