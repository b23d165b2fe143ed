"""Drives the PKCS#11 module that misbehaves on request (`shim.c`): which call fails how, and what was really done.

One control file a token, shared by every process that loads the module; counts are the file's, so they outlive a signer.
Compiled once a session (`tests/hsm/conftest.py`). Holds no assertion.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from hsm.token.softhsm import find_module

SOURCE = Path(__file__).with_name("shim.c")
CALLS: Final = (
    "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login", "C_SignInit", "C_Sign", "C_FindObjectsInit",
    "C_FindObjects", "C_FindObjectsFinal", "C_GetAttributeValue",
)  # fmt: skip
CKR: Final[Mapping[str, int]] = MappingProxyType(
    {
        "HOST_MEMORY": 0x002, "GENERAL_ERROR": 0x005, "FUNCTION_FAILED": 0x006, "DEVICE_ERROR": 0x030,
        "DEVICE_MEMORY": 0x031, "DEVICE_REMOVED": 0x032, "OPERATION_ACTIVE": 0x090, "PIN_INCORRECT": 0x0A0,
        "PIN_LOCKED": 0x0A4, "SESSION_COUNT": 0x0B1, "SESSION_HANDLE_INVALID": 0x0B3, "TOKEN_NOT_PRESENT": 0x0E0,
        "FUNCTION_REJECTED": 0x200,
    }
)  # fmt: skip
FLAGS: Final[Mapping[str, int]] = MappingProxyType(
    {"USER_PIN_COUNT_LOW": 0x10000, "USER_PIN_FINAL_TRY": 0x20000, "USER_PIN_LOCKED": 0x40000}
)
When = Literal["before", "after"]
_LABELS = 8


class _Fault(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint32) for name in ("times", "skip", "rv", "when", "delay_ms", "drops", "removes", "struck")
    ]


class _ByLabel(ctypes.Structure):
    _fields_ = [("label", ctypes.c_char * 32), ("made", ctypes.c_uint64)]


class _Control(ctypes.Structure):
    _fields_ = [
        ("removed", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("entered", ctypes.c_uint64 * len(CALLS)),
        ("logins", ctypes.c_uint64), ("refused", ctypes.c_uint64), ("made", ctypes.c_uint64),
        ("faults", _Fault * len(CALLS)), ("labels", _ByLabel * _LABELS),
    ]  # fmt: skip


def compiled(directory: Path) -> Path:
    """The module, made from its source into this directory."""
    module = directory / "shim.so"
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-fvisibility=hidden")
    subprocess.run(["gcc", *strict, "-o", module, SOURCE, "-ldl"], check=True, capture_output=True, timeout=30)
    return module


@dataclass(frozen=True, slots=True)
class Shim:
    """The module over the real one, and its control file."""

    module: Path
    control: Path
    _shared: Any

    @classmethod
    def over(cls, module: Path, control: Path) -> Shim:
        """A new control file, or the one that is there."""
        if not control.exists():
            control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with control.open("r+b") as file:
            return cls(module, control, _Control.from_buffer(mmap.mmap(file.fileno(), 0)))

    @property
    def environment(self) -> dict[str, str]:
        """What a process that loads the module needs, with its own environment."""
        return {**os.environ, "KS_SHIM_MODULE": str(find_module(None)), "KS_SHIM_CONTROL": str(self.control)}

    def serve_by(self, directory: Path) -> None:
        """Have the signer in this directory load this module."""
        made = directory / "signer.toml"
        text = made.read_text()
        made.write_text(text.replace(f'"{find_module(None)}"', f'"{self.module}"'))
        assert str(self.module) in made.read_text()

    def next(
        self, call: str, *, rv: str = "", when: When = "before", times: int = 1, skip: int = 0,
        delay_ms: int = 0, drops: bool = False, removes: bool = False,
    ) -> None:  # fmt: skip
        """The next `times` calls of this kind, `skip` left out, are answered with CKR_`rv` before or after the real one.

        `drops` closes all sessions, `removes` takes the token away until `put_back`.
        """
        fault = self._shared.faults[CALLS.index(call)]
        fault.times = 0
        fault.skip, fault.rv, fault.when = skip, CKR[rv] if rv else 0, int(when == "after")
        fault.delay_ms, fault.drops, fault.removes = delay_ms, drops, removes
        fault.times = times  # last: from here on it strikes

    def delay(self, call: str, ms: int, *, times: int = 1) -> None:
        """The next calls of this kind take so much longer."""
        self.next(call, delay_ms=ms, times=times)

    def quiet(self) -> None:
        """No fault waits any more, the token is there, and its flags are its own."""
        for fault in self._shared.faults:
            fault.times = 0
        self._shared.removed = self._shared.flags = 0

    def remove(self) -> None:
        """The token is not there until `put_back`."""
        self._shared.removed = 1

    def put_back(self) -> None:
        self._shared.removed = 0

    def show(self, *flags: str) -> None:
        """The token's own flags and these."""
        self._shared.flags = sum(FLAGS[each] for each in flags)

    def entered(self, call: str) -> int:
        """How often programs made this call."""
        return int(self._shared.entered[CALLS.index(call)])

    def struck(self, call: str) -> int:
        """How many calls of this kind suffered a fault."""
        return int(self._shared.faults[CALLS.index(call)].struck)

    @property
    def logins(self) -> int:
        """User PINs that were given to the token."""
        return int(self._shared.logins)

    @property
    def refused(self) -> int:
        """User PINs that were answered with a refusal of the PIN."""
        return int(self._shared.refused)

    @property
    def signatures(self) -> int:
        """Signatures that the real token made, whatever was answered."""
        return int(self._shared.made)

    @property
    def made(self) -> dict[str, int]:
        """The same by key label."""
        return {each.label.decode(): int(each.made) for each in self._shared.labels if each.label}
