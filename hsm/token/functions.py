"""The functions of a PKCS#11 module that python-pkcs11 does not offer, by ctypes. Never logs in and never signs.

By the list that C_GetFunctionList gives, the one symbol that each module exports. Source: PKCS #11 v2.40 §3.6, §5.4.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Final

OK: Final = 0x000
ALREADY_INITIALIZED: Final = 0x191
_FUNCTION: Final = ctypes.CFUNCTYPE(ctypes.c_ulong)
_PLACES: Final = (
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
)


class Functions:
    """A loaded module. OSError or AttributeError if the file is none."""

    def __init__(self, module: Path) -> None:
        self._library = ctypes.CDLL(str(module))
        self._list = ctypes.c_void_p()
        given = self._library.C_GetFunctionList(ctypes.byref(self._list))
        if given != OK or not self._list.value:
            raise OSError(f"C_GetFunctionList failed with 0x{given:03x}")

    def call(self, name: str, *arguments: Any) -> int:
        """CK_RV of the function; the arguments are ctypes values, as the function takes them."""
        # CK_FUNCTION_LIST: CK_VERSION, padded to the size of a pointer, then the pointers in this order.
        place = (self._list.value or 0) + (1 + _PLACES.index(name)) * ctypes.sizeof(ctypes.c_void_p)
        address = ctypes.c_void_p.from_address(place).value
        if not address:
            raise OSError(f"the module has no {name}")
        return int(_FUNCTION(address)(*arguments))
