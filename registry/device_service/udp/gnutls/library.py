"""libgnutls.so.30: the types of what is called in it, and its errors as exceptions. Loads it when asked to, not before.

Source: gnutls/gnutls.h, dtls.h, abstract.h and x509.h of 3.7.9. Values that the library wants as they are stand here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_long, c_size_t, c_uint, c_void_p
from types import MappingProxyType
from typing import Any, Final, Self

NAME: Final = "libgnutls.so.30"
OLDEST: Final = "3.6.13"
"""The first with raw public keys, and with a say in who gets session secrets."""

AGAIN: Final = -28
CERTIFICATE_ERROR: Final = -43
SIGN_FAILED: Final = -46
KEY_MISMATCH: Final = -60
USER_ERROR: Final = -320

DER: Final = 0
SHA256: Final = 6
PK_ECDSA: Final = 4
SIGN_ECDSA_SHA256: Final = 14
FOR_SIGNATURES: Final = 128
CERTIFICATE_CREDENTIALS: Final = 1


class LibraryError(RuntimeError):
    """GnuTLS is not here, or too old."""


class GnuTlsError(Exception):
    """What a function of the library has returned; `code` is one of its error numbers."""

    def __init__(self, code: int, what: str) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


class Datum(ctypes.Structure):
    """gnutls_datum_t."""

    _fields_ = (("data", c_void_p), ("size", c_uint))

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """One that holds these bytes for as long as it lives itself."""
        made = cls()
        made.held = ctypes.create_string_buffer(raw, len(raw))
        made.data, made.size = ctypes.addressof(made.held), len(raw)
        return made

    def read(self) -> bytes:
        """A copy of what it points at."""
        return ctypes.string_at(self.data, self.size) if self.size else b""


class ParsedCertificate(ctypes.Structure):
    """gnutls_pcert_st: a certificate, or a raw key in its place."""

    _fields_ = (("pubkey", c_void_p), ("cert", Datum), ("type", c_int))


class Prestate(ctypes.Structure):
    """gnutls_dtls_prestate_st: what a session has to know of the hello that came before it."""

    _fields_ = (("record_seq", c_uint), ("hsk_read_seq", c_uint), ("hsk_write_seq", c_uint))


SignHash: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_int, c_void_p, c_uint, POINTER(Datum), POINTER(Datum))
KeyInfo: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint, c_void_p)
Push: Final = ctypes.CFUNCTYPE(c_long, c_void_p, c_void_p, c_size_t)
Pull: Final = ctypes.CFUNCTYPE(c_long, c_void_p, c_void_p, c_size_t)
PullTimeout: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint)
Verify: Final = ctypes.CFUNCTYPE(c_int, c_void_p)
Hook: Final = ctypes.CFUNCTYPE(c_int, c_void_p, c_uint, c_uint, c_uint, POINTER(Datum))

_DATUM: Final = POINTER(Datum)
_HANDLE: Final = POINTER(c_void_p)

_FUNCTIONS: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType({
    # result, arguments
    "gnutls_alert_send_appropriate": (c_int, c_void_p, c_int),
    "gnutls_bye": (c_int, c_void_p, c_int),
    "gnutls_certificate_allocate_credentials": (c_int, _HANDLE),
    "gnutls_certificate_free_credentials": (None, c_void_p),
    "gnutls_certificate_get_peers": (_DATUM, c_void_p, POINTER(c_uint)),
    "gnutls_certificate_server_set_request": (None, c_void_p, c_int),
    "gnutls_certificate_set_key": (c_int, c_void_p, c_void_p, c_int, POINTER(ParsedCertificate), c_int, c_void_p),
    "gnutls_certificate_type_get2": (c_int, c_void_p, c_int),
    "gnutls_check_version": (c_char_p, c_char_p),
    "gnutls_cipher_get": (c_int, c_void_p),
    "gnutls_cipher_get_name": (c_char_p, c_int),
    "gnutls_credentials_set": (c_int, c_void_p, c_int, c_void_p),
    "gnutls_deinit": (None, c_void_p),
    "gnutls_dtls_cookie_send": (c_int, _DATUM, c_char_p, c_size_t, POINTER(Prestate), c_void_p, Push),
    "gnutls_dtls_cookie_verify": (c_int, _DATUM, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(Prestate)),
    "gnutls_dtls_get_data_mtu": (c_uint, c_void_p),
    "gnutls_dtls_get_timeout": (c_uint, c_void_p),
    "gnutls_dtls_prestate_set": (None, c_void_p, POINTER(Prestate)),
    "gnutls_dtls_set_mtu": (None, c_void_p, c_uint),
    "gnutls_dtls_set_timeouts": (None, c_void_p, c_uint, c_uint),
    "gnutls_error_is_fatal": (c_int, c_int),
    "gnutls_handshake": (c_int, c_void_p),
    "gnutls_handshake_set_hook_function": (None, c_void_p, c_uint, c_int, Hook),
    "gnutls_handshake_set_max_packet_length": (None, c_void_p, c_size_t),
    "gnutls_init": (c_int, _HANDLE, c_uint),
    "gnutls_pcert_import_rawpk_raw": (c_int, POINTER(ParsedCertificate), _DATUM, c_int, c_uint, c_uint),
    "gnutls_pcert_import_x509": (c_int, POINTER(ParsedCertificate), c_void_p, c_uint),
    "gnutls_priority_set_direct": (c_int, c_void_p, c_char_p, POINTER(c_char_p)),
    "gnutls_privkey_deinit": (None, c_void_p),
    "gnutls_privkey_import_ext4": (
        c_int, c_void_p, c_void_p, c_void_p, SignHash, c_void_p, c_void_p, KeyInfo, c_uint,
    ),
    "gnutls_privkey_init": (c_int, _HANDLE),
    "gnutls_pubkey_deinit": (None, c_void_p),
    "gnutls_pubkey_export2": (c_int, c_void_p, c_int, _DATUM),
    "gnutls_pubkey_import": (c_int, c_void_p, _DATUM, c_int),
    "gnutls_pubkey_import_x509": (c_int, c_void_p, c_void_p, c_uint),
    "gnutls_pubkey_init": (c_int, _HANDLE),
    "gnutls_record_recv": (c_long, c_void_p, c_void_p, c_size_t),
    "gnutls_record_send": (c_long, c_void_p, c_char_p, c_size_t),
    "gnutls_session_set_keylog_function": (None, c_void_p, c_void_p),
    "gnutls_session_set_verify_function": (None, c_void_p, Verify),
    "gnutls_strerror": (c_char_p, c_int),
    "gnutls_transport_set_errno": (None, c_void_p, c_int),
    "gnutls_transport_set_pull_function": (None, c_void_p, Pull),
    "gnutls_transport_set_pull_timeout_function": (None, c_void_p, PullTimeout),
    "gnutls_transport_set_push_function": (None, c_void_p, Push),
    "gnutls_x509_crt_deinit": (None, c_void_p),
    "gnutls_x509_crt_import": (c_int, c_void_p, _DATUM, c_int),
    "gnutls_x509_crt_init": (c_int, _HANDLE),
    "gnutls_x509_crt_privkey_sign": (c_int, c_void_p, c_void_p, c_void_p, c_int, c_uint),
    "gnutls_x509_crt_set_activation_time": (c_int, c_void_p, c_long),
    "gnutls_x509_crt_set_dn": (c_int, c_void_p, c_char_p, POINTER(c_char_p)),
    "gnutls_x509_crt_set_expiration_time": (c_int, c_void_p, c_long),
    "gnutls_x509_crt_set_key_usage": (c_int, c_void_p, c_uint),
    "gnutls_x509_crt_set_pubkey": (c_int, c_void_p, c_void_p),
    "gnutls_x509_crt_set_serial": (c_int, c_void_p, c_char_p, c_size_t),
    "gnutls_x509_crt_set_version": (c_int, c_void_p, c_uint),
})  # fmt: skip


class Library:
    """The loaded library."""

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self._functions = {name: _typed(loaded, name, *types) for name, types in _FUNCTIONS.items()}
        self._malloc = ctypes.CFUNCTYPE(c_void_p, c_size_t).in_dll(loaded, "gnutls_malloc")
        self._free = ctypes.CFUNCTYPE(None, c_void_p).in_dll(loaded, "gnutls_free")

    @classmethod
    def load(cls) -> Self:
        """LibraryError, saying what to install, if it is not here or too old."""
        try:
            made = cls(ctypes.CDLL(NAME))
        except (OSError, AttributeError, ValueError) as error:
            raise LibraryError(f"{NAME} cannot be used ({error}): apt-get install libgnutls30") from error
        if made.ask("gnutls_check_version", OLDEST.encode()) is None:
            raise LibraryError(f"{NAME} is older than {OLDEST}: apt-get install libgnutls30")
        return made

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the function returns."""
        return self._functions[name](*arguments)

    def must(self, name: str, *arguments: Any) -> int:
        """What the function returns; GnuTlsError if that is an error."""
        code = int(self.ask(name, *arguments))
        if code < 0:
            raise GnuTlsError(code, f"{name}: {self.says(code)}")
        return code

    def new(self, name: str, *arguments: Any) -> c_void_p:
        """What the function, whose name ends in `init` or the like, has made."""
        made = c_void_p()
        self.must(name, ctypes.byref(made), *arguments)
        return made

    def says(self, code: int) -> str:
        """The library's own words for an error."""
        return str(self.ask("gnutls_strerror", code).decode())

    def give(self, datum: Datum, raw: bytes) -> None:
        """Put bytes into a datum that the library frees."""
        datum.data, datum.size = self._malloc(len(raw)), len(raw)
        if not datum.data:
            raise MemoryError
        ctypes.memmove(datum.data, raw, len(raw))

    def take(self, datum: Datum) -> bytes:
        """The bytes of a datum that the library has left to us to free."""
        raw = datum.read()
        self._free(datum.data)
        return raw


def _typed(loaded: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(loaded, name)
    function.restype, function.argtypes = result, arguments
    return function
