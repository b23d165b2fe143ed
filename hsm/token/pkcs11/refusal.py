"""What a token's *no* means: ask again, connect again, or give up. Never says what was asked: it could be a PIN."""

from __future__ import annotations

from enum import Enum
from typing import Final

import pkcs11

from hsm.token import TokenError


class Kind(Enum):
    """What may help after an error."""

    BUSY = "the session is as it was: wait, then ask again"
    LOST = "session, token or its state is gone or unknown: close everything, open again"
    REFUSED = "asking again gives the same answer"


_BUSY: Final = (pkcs11.DeviceMemory, pkcs11.HostMemory, pkcs11.SessionCount, pkcs11.FunctionFailed)
_LOST: Final = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.DeviceRemoved,
    pkcs11.DeviceError,
    pkcs11.GeneralError,
    pkcs11.ObjectHandleInvalid,
    pkcs11.KeyHandleInvalid,
    pkcs11.UserNotLoggedIn,
    pkcs11.TokenNotPresent,
    pkcs11.TokenNotRecognised,
    pkcs11.NoSuchToken,
    pkcs11.SlotIDInvalid,
    pkcs11.OperationActive,  # an operation that never ended: the session is wedged
    pkcs11.OperationNotInitialized,
)
PIN_REFUSED: Final = (
    pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired,
)  # fmt: skip


def kind_of(error: pkcs11.PKCS11Error) -> Kind:
    """What may help."""
    if isinstance(error, _BUSY):
        return Kind.BUSY
    return Kind.LOST if isinstance(error, _LOST) else Kind.REFUSED


def said(error: pkcs11.PKCS11Error) -> str:
    """The library's name for it, and its text if it has one."""
    return f"{type(error).__name__} {error}".rstrip()


def refusal(label: str, error: pkcs11.PKCS11Error) -> TokenError:
    """The one error that callers know, with the name of the library's."""
    return TokenError(f"token {label!r} refused: {said(error)}")
