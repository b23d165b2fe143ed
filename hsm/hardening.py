"""What a signer's process closes before it reads its user PIN: core files, other processes' eyes, swap, new privileges.

Asks the kernel, reads back, and says what holds. Must never hold a secret, and never say that something holds because
it was asked for.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from hsm.config import SetupError

_LOG = logging.getLogger(__name__)
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4  # prctl(2)
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # mlock(2)
_CAP_IPC_LOCK = 1 << 14  # capabilities(7): RLIMIT_MEMLOCK does not count then
# All that is mapped counts, used or not: 190 MiB in a signer with SoftHSM, much of it room that glibc reserves for its
# threads. A limit that is met later would end a signer at work, so a small one is refused at start.
_LEAST_MEMLOCK = 1 << 30

CORE_FILES = "no-core-files"
NOT_DUMPABLE = "not-dumpable"
MEMORY_LOCKED = "memory-locked"
NO_NEW_PRIVILEGES = "no-new-privileges"
_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        CORE_FILES: "the limit RLIMIT_CORE could not be set to 0",
        NOT_DUMPABLE: "the kernel refused PR_SET_DUMPABLE",
        MEMORY_LOCKED: "pages may be written to swap: start it from its unit (station-signer unit), or give it "
        "RLIMIT_MEMLOCK unlimited or CAP_IPC_LOCK",
        NO_NEW_PRIVILEGES: "the kernel refused PR_SET_NO_NEW_PRIVS",
    }
)


def close_to_others() -> None:
    """No core file, no debugger: for every command that meets a PIN."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def protect() -> Mapping[str, bool]:
    """Close all that can be closed, for the life of the process; by name, whether it holds, as read back."""
    close_to_others()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    locked = _lock_memory()
    return MappingProxyType(
        {
            CORE_FILES: resource.getrlimit(resource.RLIMIT_CORE) == (0, 0),
            NOT_DUMPABLE: _prctl(_PR_GET_DUMPABLE, 0) == 0,
            MEMORY_LOCKED: locked and _own("VmLck") > 0,
            NO_NEW_PRIVILEGES: _prctl(_PR_GET_NO_NEW_PRIVS, 0) == 1,
        }
    )


def require(found: Mapping[str, bool], *, environment: str, may_swap: bool) -> None:
    """Environment `demo` warns of what does not hold; any other refuses it, memory excepted where `may_swap` is set."""
    missing = [name for name, holds in found.items() if not holds]
    if not missing:
        return
    said = "; ".join(f"{name} does not hold: {_REMEDIES[name]}" for name in missing)
    if environment == "demo" or (may_swap and missing == [MEMORY_LOCKED]):
        _LOG.warning("%s", said)
        return
    way_out = ", or set may_swap = true in signer.toml where all swap is encrypted or there is none"
    raise SetupError(f"environment {environment!r}: {said}{way_out if missing == [MEMORY_LOCKED] else ''}")


def _lock_memory() -> bool:
    """All pages of now and later, each from when it is first used: none that ever held something can be swapped out."""
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))
    enough = most == resource.RLIM_INFINITY or most >= _LEAST_MEMLOCK or _own("CapEff", 16) & _CAP_IPC_LOCK
    flags = _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT
    return bool(enough) and ctypes.CDLL(None, use_errno=True).mlockall(flags) == 0


def _own(name: str, base: int = 10) -> int:
    """A number that the kernel shows of this process (proc_pid_status(5)); 0 when it shows none."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], base)
    return 0


def _prctl(option: int, value: int) -> int:
    """The kernel's answer; -1 for a refusal, which reading back shows."""
    zero = ctypes.c_ulong(0)
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), zero, zero, zero))
