"""The service's key as GnuTLS wants it: public half as raw key and in a certificate, private half behind a callback.

The callback is asked for ECDSA over 32 bytes and for nothing else, once for each handshake and three times at the
start: for the certificate, and for GnuTLS to see that key and SubjectPublicKeyInfo belong together. Nothing of a
private key is ever in this process. The certificate is for devices that know no raw keys (RFC 7250); nobody looks at
its names and dates, since devices compare the key alone.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from registry.device_service.udp.gnutls import library as c
from registry.device_service.udp.gnutls.library import Datum, GnuTlsError, Library, ParsedCertificate

DIGEST_BYTES: Final = 32
_NAME: Final = b"CN=device-service"  # mbedTLS reads no certificate without a name
_FROM, _TO = 1_577_836_800, 2_524_607_999  # 2020 to 2049
_PK_ALGO, _SIGN_ALGO, _HAVE_SIGN_ALGO, _BITS = 1, 2, 4, 8
_FLAGS_TO_ALGO: Final = 20
_KEY_BITS: Final = 256


class CredentialsError(Exception):
    """The service cannot begin with this key."""


class Credentials:
    """For any number of sessions, in any number of threads."""

    def __init__(self, library: Library, spki: bytes, sign: Callable[[bytes], bytes]) -> None:
        """Asks the signer, so blocks. CredentialsError if the signer does not sign, or not for this key."""
        self.library = library
        self._sign = sign
        self._failures = threading.local()
        self._callbacks = (c.SignHash(self._signed), c.KeyInfo(self._info))  # held: the library calls them
        self.handle = library.new("gnutls_certificate_allocate_credentials")
        weakref.finalize(self, library.ask, "gnutls_certificate_free_credentials", self.handle)
        try:
            self._add(self._raw(spki))
            self._add(self._certificate(spki))
        except GnuTlsError as error:
            raise self._unusable(error) from (self.failure() or error)

    def failure(self) -> BaseException | None:
        """What the signer has raised in this thread since the last time; the library gives it no way through."""
        found: BaseException | None = getattr(self._failures, "last", None)
        self._failures.last = None
        return found

    def _add(self, shown: ParsedCertificate) -> None:
        # On success key and what is shown are the credentials'; after a failure nothing is known of them: left alone.
        self.library.must("gnutls_certificate_set_key", self.handle, None, 0, ctypes.byref(shown), 1, self._key())

    def _key(self) -> ctypes.c_void_p:
        key, (sign, info) = self.library.new("gnutls_privkey_init"), self._callbacks
        self.library.must("gnutls_privkey_import_ext4", key, None, None, sign, None, None, info, 0)
        return key

    def _raw(self, spki: bytes) -> ParsedCertificate:
        shown = ParsedCertificate()
        given = ctypes.byref(Datum.of(spki))
        self.library.must("gnutls_pcert_import_rawpk_raw", ctypes.byref(shown), given, c.DER, c.FOR_SIGNATURES, 0)
        return shown

    def _certificate(self, spki: bytes) -> ParsedCertificate:
        must, new, ask = self.library.must, self.library.new, self.library.ask
        public, made, key = new("gnutls_pubkey_init"), new("gnutls_x509_crt_init"), self._key()
        shown = ParsedCertificate()
        try:
            must("gnutls_pubkey_import", public, ctypes.byref(Datum.of(spki)), c.DER)
            must("gnutls_x509_crt_set_version", made, 3)
            must("gnutls_x509_crt_set_serial", made, b"\x01", 1)
            must("gnutls_x509_crt_set_dn", made, _NAME, None)
            must("gnutls_x509_crt_set_activation_time", made, _FROM)
            must("gnutls_x509_crt_set_expiration_time", made, _TO)
            must("gnutls_x509_crt_set_key_usage", made, c.FOR_SIGNATURES)
            must("gnutls_x509_crt_set_pubkey", made, public)
            must("gnutls_x509_crt_privkey_sign", made, made, key, c.SHA256, 0)
            must("gnutls_pcert_import_x509", ctypes.byref(shown), made, 0)
        finally:
            ask("gnutls_pubkey_deinit", public)
            ask("gnutls_x509_crt_deinit", made)
            ask("gnutls_privkey_deinit", key)
        return shown

    def _signed(self, _key: Any, algorithm: int, _user: Any, _flags: int, digest: Any, signature: Any) -> int:
        try:
            raw = digest.contents.read()
            if algorithm != c.SIGN_ECDSA_SHA256 or len(raw) != DIGEST_BYTES:
                return c.SIGN_FAILED
            self.library.give(signature.contents, self._sign(raw))
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into C: what comes of it there is anything
            self._failures.last = error
            return c.SIGN_FAILED
        return 0

    @staticmethod
    def _info(_key: Any, flags: int, _user: Any) -> int:
        if flags & _PK_ALGO:
            return c.PK_ECDSA
        if flags & _SIGN_ALGO:
            return c.SIGN_ECDSA_SHA256
        if flags & _HAVE_SIGN_ALGO:
            return int(flags >> _FLAGS_TO_ALGO == c.SIGN_ECDSA_SHA256)
        return _KEY_BITS if flags & _BITS else -1

    @staticmethod
    def _unusable(error: GnuTlsError) -> CredentialsError:
        if error.code in {c.KEY_MISMATCH, c.SIGN_FAILED}:
            return CredentialsError(
                f"the signer does not sign for this public key ({error}): is it up, and is this its key cloud-udp?"
            )
        return CredentialsError(f"a key that the UDP service cannot use, it has to be EC P-256: {error}")
