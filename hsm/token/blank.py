"""Give a blank PKCS#11 token its label and SO PIN (`C_InitToken`), which python-pkcs11 cannot do yet.

Through ctypes on the same module, so that no PIN stands on any command line. Never touches a token that is initialised.
Source: PKCS #11 v2.40 §4.2 (CK_TOKEN_INFO), §5.4 and §5.5.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

from hsm.config import SetupError
from hsm.token import TokenError
from hsm.token.functions import ALREADY_INITIALIZED, OK, Functions
from hsm.token.profile import Seen
from hsm.token.profiles import choose
from hsm.token.user_pin import UserPin

_TOKEN_INITIALIZED = 0x400
_LABEL_BYTES = 32
_FLAGS_OFFSET = 96  # label 32, manufacturer 32, model 16, serial 16
_INFO_BYTES = 1024  # CK_TOKEN_INFO has about 208; a generous buffer costs nothing
_MAX_SLOTS = 256


def initialise(module: Path, label: str, so_pin: UserPin, profile: str = "") -> None:
    """Initialise the module's first blank token under this label.

    SetupError if none is blank, if the label is taken, or if the vendor's tools are what makes tokens of this module.
    """
    try:
        functions = Functions(module)
        started = functions.call("C_Initialize", None)
    except (OSError, AttributeError) as error:
        raise SetupError(f"{module} is not a PKCS#11 module: {error}") from error
    if started not in {OK, ALREADY_INITIALIZED}:
        raise SetupError(f"{module}: C_Initialize failed with 0x{started:03x}: is its configuration readable?")
    try:
        slot = _blank_slot(functions, label, profile)
        secret = so_pin.reveal().encode()
        padded = label.encode().ljust(_LABEL_BYTES)
        _check(functions, "C_InitToken", ctypes.c_ulong(slot), secret, ctypes.c_ulong(len(secret)), padded)
    finally:
        if started == OK:
            functions.call("C_Finalize", None)


def _blank_slot(functions: Functions, label: str, profile: str) -> int:
    count = ctypes.c_ulong(_MAX_SLOTS)
    slots = (ctypes.c_ulong * _MAX_SLOTS)()
    _check(functions, "C_GetSlotList", ctypes.c_ubyte(1), slots, ctypes.byref(count))
    blank: tuple[int, Seen] | None = None
    others: list[Seen] = []
    for slot in slots[: count.value]:
        info = ctypes.create_string_buffer(_INFO_BYTES)
        _check(functions, "C_GetTokenInfo", ctypes.c_ulong(slot), info)
        (flags,) = struct.unpack_from("@L", info.raw, _FLAGS_OFFSET)
        if not flags & _TOKEN_INITIALIZED:
            blank = blank or (slot, _seen(info.raw))
            continue
        others.append(_seen(info.raw))
        if info.raw[:_LABEL_BYTES].rstrip() == label.encode():
            raise SetupError(
                f"a token labelled {label!r} is there already: it is never overwritten; choose another label"
            )
    for seen in [blank[1]] if blank else others:
        _require_ours(seen, profile)
    if blank is None:
        raise SetupError("the module has no blank token")
    return blank[0]


def _seen(info: bytes) -> Seen:
    names = (info[32:64], info[64:80])
    manufacturer, model = (each.rstrip(b"\0 ").decode(errors="replace") for each in names)
    return Seen(token_manufacturer=manufacturer, token_model=model)


def _require_ours(seen: Seen, setting: str) -> None:
    try:
        profile = choose(seen, setting).profile
    except TokenError as error:
        raise SetupError(str(error)) from error
    if not profile.initialised_here:
        raise SetupError(
            f"tokens of {profile.title} are made with the vendor's tools (docs/modules.md): make one, then give init "
            "its label with --token and where its user PIN is with --user-pin"
        )


def _check(functions: Functions, name: str, *arguments: Any) -> None:
    result = functions.call(name, *arguments)
    if result != OK:
        raise SetupError(f"{name} failed with 0x{result:03x} (PKCS #11 return value)")
