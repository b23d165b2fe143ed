"""The calls of which it must be known how far they came: log in, sign, close all. The module's own, through ctypes.

Where the module gives each caller an instance of its own (p11-kit-proxy), the calls go through python-pkcs11 instead,
and whatever goes wrong in a signature is in doubt: it is counted, and made once more.

python-pkcs11 makes C_OpenSession and C_Login one call, and C_SignInit and C_Sign another, so that its error does not
tell whether a PIN was tried or a signature made; after an error it calls C_SignFinal on chance.
Only for the one thread of PKCS#11. Source: PKCS #11 v2.40 sections 3.4, 5.6 and 5.11.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, Mechanism

from hsm.token.user_pin import UserPin

_USER = 1
_SIGNATURE_BYTES = 1024  # the longest that any key here makes, or opens, is 256
_FUNCTIONS = 68
_INFO_BYTES = 1024  # CK_INFO has about 88
_GET_INFO, _CLOSE_ALL_SESSIONS, _LOGIN = 2, 14, 18  # places in CK_FUNCTION_LIST
_DECRYPT_INIT, _DECRYPT, _SIGN_INIT, _SIGN = 33, 34, 42, 43
_ULONG, _BYTES = ctypes.c_ulong, ctypes.c_void_p
_ERRORS: Final[Mapping[int, type[pkcs11.PKCS11Error]]] = MappingProxyType(
    {
        0x002: pkcs11.HostMemory, 0x003: pkcs11.SlotIDInvalid, 0x005: pkcs11.GeneralError, 0x006: pkcs11.FunctionFailed,
        0x007: pkcs11.ArgumentsBad, 0x020: pkcs11.DataInvalid, 0x021: pkcs11.DataLenRange, 0x030: pkcs11.DeviceError,
        0x031: pkcs11.DeviceMemory, 0x032: pkcs11.DeviceRemoved, 0x050: pkcs11.FunctionCancelled,
        0x054: pkcs11.FunctionNotSupported, 0x060: pkcs11.KeyHandleInvalid, 0x063: pkcs11.KeyTypeInconsistent,
        0x070: pkcs11.MechanismInvalid, 0x071: pkcs11.MechanismParamInvalid, 0x082: pkcs11.ObjectHandleInvalid,
        0x090: pkcs11.OperationActive, 0x091: pkcs11.OperationNotInitialized, 0x0A0: pkcs11.PinIncorrect,
        0x0A1: pkcs11.PinInvalid, 0x0A2: pkcs11.PinLenRange, 0x0A3: pkcs11.PinExpired, 0x0A4: pkcs11.PinLocked,
        0x0B0: pkcs11.SessionClosed, 0x0B1: pkcs11.SessionCount, 0x0B3: pkcs11.SessionHandleInvalid,
        0x0E0: pkcs11.TokenNotPresent, 0x0E1: pkcs11.TokenNotRecognised, 0x100: pkcs11.UserAlreadyLoggedIn,
        0x101: pkcs11.UserNotLoggedIn, 0x200: pkcs11.FunctionRejected,
    }
)  # fmt: skip


_GONE: Final = frozenset({0x032, 0x0B0, 0x0B3, 0x0E0, 0x101})  # the token or its session, and not what it was given
_GONE_ERRORS: Final = tuple(_ERRORS[each] for each in sorted(_GONE))


class SignatureDoubtError(Exception):
    """C_Sign was entered and did not say OK. `error` is what it said."""

    def __init__(self, error: pkcs11.PKCS11Error) -> None:
        super().__init__(type(error).__name__)
        self.error = error


class _Mechanism(ctypes.Structure):
    _fields_ = (("type", _ULONG), ("parameter", ctypes.c_void_p), ("length", _ULONG))


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("call", ctypes.c_void_p * _FUNCTIONS))


class RawModule:
    """The module's function list; PKCS11Error when it has none."""

    def __init__(self, module: Path) -> None:
        found = ctypes.POINTER(_FunctionList)()
        _check(ctypes.CDLL(str(module)).C_GetFunctionList(ctypes.byref(found)))
        self._list = found.contents
        self._get_info = self._function(_GET_INFO, ctypes.c_void_p)
        self._close_all = self._function(_CLOSE_ALL_SESSIONS, _ULONG)
        self._login = self._function(_LOGIN, _ULONG, _ULONG, _BYTES, _ULONG)
        self._decrypt_init = self._function(_DECRYPT_INIT, _ULONG, ctypes.POINTER(_Mechanism), _ULONG)
        self._decrypt = self._function(_DECRYPT, _ULONG, _BYTES, _ULONG, _BYTES, ctypes.POINTER(_ULONG))
        self._sign_init = self._function(_SIGN_INIT, _ULONG, ctypes.POINTER(_Mechanism), _ULONG)
        self._sign = self._function(_SIGN, _ULONG, _BYTES, _ULONG, _BYTES, ctypes.POINTER(_ULONG))

    @property
    def shared(self) -> bool:
        """Whether this is the instance that python-pkcs11 has started."""
        info = ctypes.create_string_buffer(_INFO_BYTES)
        return bool(self._get_info(info) == 0)

    def log_in(self, session: Any, user_pin: UserPin) -> None:
        """C_Login as the user: the one call that a PIN goes into. PKCS11Error."""
        secret = user_pin.reveal().encode()
        held = ctypes.create_string_buffer(secret, len(secret))
        try:
            _check(self._login(session.handle, _USER, held, len(secret)))
        finally:
            ctypes.memset(held, 0, len(secret))

    def sign(self, session: Any, key: Any, mechanism: Mechanism, data: bytes) -> bytes:
        """C_SignInit and C_Sign. PKCS11Error when nothing was signed, SignatureDoubtError when that is not known."""
        session = session.handle
        _check(self._sign_init(session, _Mechanism(mechanism.value, None, 0), key.handle))
        signature, size = ctypes.create_string_buffer(_SIGNATURE_BYTES), _ULONG(_SIGNATURE_BYTES)
        try:
            _check(self._sign(session, data, len(data), signature, ctypes.byref(size)))
        except pkcs11.PKCS11Error as error:
            raise SignatureDoubtError(error) from error
        return signature.raw[: size.value]

    def decrypt(self, session: Any, key: Any, mechanism: Mechanism, data: bytes) -> bytes | None:
        """C_DecryptInit and C_Decrypt; None when the module does not open it. PKCS11Error when it was not tried.

        Modules give all kinds of errors for a padding that is wrong: SoftHSM the one of a token that is broken.
        """
        session = session.handle
        _check(self._decrypt_init(session, _Mechanism(mechanism.value, None, 0), key.handle))
        opened, size = ctypes.create_string_buffer(_SIGNATURE_BYTES), _ULONG(_SIGNATURE_BYTES)
        result = self._decrypt(session, data, len(data), opened, ctypes.byref(size))
        if result in _GONE:
            _check(result)
        return None if result != 0 else opened.raw[: size.value]

    def close_all(self, slot: int) -> None:
        """C_CloseAllSessions: all that this process has open at this token, and its login. A failure says nothing."""
        self._close_all(slot)

    def _function(self, place: int, *arguments: Any) -> Any:
        return ctypes.CFUNCTYPE(_ULONG, *arguments)(self._list.call[place])


class LibraryModule:
    """The same calls through python-pkcs11, for a token whose module has instances."""

    def __init__(self, token: Any, *, read_write: bool) -> None:
        self._token = token
        self._read_write = read_write
        self._session: Any = None

    def log_in(self, _session: Any, user_pin: UserPin) -> None:
        """Open a second session with the PIN: a login is the token's, not a session's. PKCS11Error."""
        self._session = self._token.open(rw=self._read_write, user_pin=user_pin.reveal())

    def sign(self, _session: Any, key: Any, mechanism: Mechanism, data: bytes) -> bytes:
        """PKCS11Error when the key is not there any more, SignatureDoubtError for whatever goes wrong from then on."""
        _ = key[Attribute.LABEL]  # a session that was lost before is told from one that is lost in the signature
        try:
            return bytes(key.sign(data, mechanism=mechanism))
        except pkcs11.PKCS11Error as error:
            raise SignatureDoubtError(error) from error

    def decrypt(self, _session: Any, key: Any, mechanism: Mechanism, data: bytes) -> bytes | None:
        """As the raw one. PKCS11Error when the key is not there any more."""
        _ = key[Attribute.LABEL]
        try:
            return bytes(key.decrypt(data, mechanism=mechanism))
        except _GONE_ERRORS:
            raise
        except pkcs11.PKCS11Error:
            return None

    def close_all(self, _slot: int) -> None:
        """Close the session of the login, which ends it; the one beside it is the garbage collector's."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(pkcs11.PKCS11Error):  # closing a lost session fails too
                session.close()


Module = RawModule | LibraryModule


def module_of(path: Path, token: Any, *, read_write: bool) -> Module:
    """The module's own functions, if they are those of the instance that has found this token."""
    raw = RawModule(path)
    return raw if raw.shared else LibraryModule(token, read_write=read_write)


def _check(result: int) -> None:
    if result != 0:
        known = _ERRORS.get(result)
        raise known() if known is not None else pkcs11.PKCS11Error(f"PKCS #11 return value 0x{result:03x}")
