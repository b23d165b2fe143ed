"""Does to itself what systemd would do for a unit, as far as it can be done without systemd, then becomes the program.

`unit_standin.py UNIT UID GID [--deadly] PROGRAM…`, as root. Reads the unit's own directives: what it does not know it
leaves, and `KNOWN` says what that is not. `--deadly`: a system call that the filter refuses kills instead of failing, so
that none can be refused in silence. Written after systemd.exec(5) and its seccomp rules; the standard library only.

Not done: cgroups (IPAddressDeny=, DeviceAllow=, MemoryMax=, MemorySwapMax=, TasksMax=), credentials, ProtectKernelLogs=
beyond what capabilities give, the user and group data base.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWIPC, NEWUTS, NEWNET = 0x20000, 0x08000000, 0x04000000, 0x40000000
NAMESPACES = 0x02000000 | NEWUTS | NEWIPC | 0x10000000 | 0x20000000 | NEWNET | NEWNS | 0x80
IPC_LOCK = 14
ALLOW, KILL = 0x7FFF0000, 0x80000000
NE, EQ, MASKED = 1, 4, 7  # libseccomp's comparisons
WRITE, EXEC = 2, 4
KNOWN = {
    "LimitCORE", "LimitMEMLOCK", "UMask", "MemoryDenyWriteExecute", "NoNewPrivileges", "CapabilityBoundingSet",
    "SystemCallFilter", "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality", "ProtectSystem", "ReadWritePaths",
    "StateDirectory", "RuntimeDirectory", "PrivateTmp", "PrivateDevices", "PrivateNetwork", "PrivateIPC", "ProtectProc",
    "ProcSubset", "ProtectHome", "ProtectHostname", "RestrictAddressFamilies",
}  # fmt: skip


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def see_less(unit: dict[str, list[str]]) -> None:
    """The unit's own view of the file system; what homes hide is hidden by `own_users.reachable` already."""
    flags = NEWNS | NEWUTS | (NEWIPC if "PrivateIPC" in unit else 0) | (NEWNET if "PrivateNetwork" in unit else 0)
    if LIBC.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")
    if "PrivateDevices" in unit:
        mount("--bind", "/dev", "/mnt")
        mount("-t", "tmpfs", "-o", "mode=755,nosuid,noexec", "none", "/dev")
        for each in ("null", "zero", "full", "random", "urandom"):
            Path("/dev", each).touch()
            mount("--bind", f"/mnt/{each}", f"/dev/{each}")
        Path("/dev/shm").mkdir()
        mount("-t", "tmpfs", "none", "/dev/shm")
        subprocess.run(["umount", "-l", "/mnt"], check=True)
    if "PrivateTmp" in unit:
        for each in ("/tmp", "/var/tmp"):
            mount("-t", "tmpfs", "-o", "mode=1777", "none", each)
    mount("-t", "proc", "-o", "hidepid=invisible,subset=pid", "proc", "/proc")
    writable = [*unit.get("ReadWritePaths", []), *(f"/var/lib/{each}" for each in unit.get("StateDirectory", []))]
    writable += [f"/run/{each}" for each in unit.get("RuntimeDirectory", [])]
    for each in [*writable, "/tmp", "/var/tmp", "/dev/shm"]:
        mount("--bind", each, each)
    read_only("/", True)
    for each in [*writable, "/tmp", "/var/tmp", "/dev", "/proc"]:
        read_only(each, False)


def read_only(path: str, on: bool) -> None:
    """This mount and all below it: mount_setattr(2)."""
    attributes = (ctypes.c_uint64 * 4)(*((1, 0) if on else (0, 1)), 0, 0)
    if LIBC.syscall(442, -100, path.encode(), 0x8000, attributes, ctypes.c_size_t(32)) != 0:
        raise OSError(ctypes.get_errno(), f"mount_setattr {path}")


class Rule(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


class Filter:
    """A filter of libseccomp for this processor's own system calls; any other kind of call kills."""

    def __init__(self, otherwise: int) -> None:
        self._lib = ctypes.CDLL("libseccomp.so.2")
        self._lib.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._lib.seccomp_init(ctypes.c_uint32(otherwise)))

    def add(self, action: int, call: str, *rules: Rule) -> None:
        number = self._lib.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            array = (Rule * len(rules))(*rules)
            done = self._lib.seccomp_rule_add_array(self._context, ctypes.c_uint32(action), number, len(rules), array)
            assert done == 0, (call, done)

    def load(self) -> None:
        done = self._lib.seccomp_load(self._context)
        assert done == 0, done


def fail(number: int) -> int:
    return 0x00050000 | number


def members(word: str) -> Iterator[str]:
    """System calls of a set of systemd's, or the one call."""
    if not word.startswith("@"):
        yield word
        return
    shown = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", word], capture_output=True, text=True, check=True
    )
    for line in shown.stdout.splitlines()[1:]:
        if (entry := line.strip()) and not entry.startswith("#"):
            yield from members(entry)


def filters(unit: dict[str, list[str]], *, deadly: bool) -> list[Filter]:
    """Made before the privileges go, loaded after."""
    refused = KILL if deadly else fail(errno.EPERM)
    allowed = {"execve", "exit", "exit_group", "rt_sigreturn"}
    for value in unit.get("SystemCallFilter", []):
        calls = {call for word in value.lstrip("~").split() for call in members(word)}
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    whole = Filter(refused if "SystemCallFilter" in unit else ALLOW)
    for call in sorted(allowed):
        whole.add(ALLOW, call)
    narrow = Filter(ALLOW)
    if "RestrictAddressFamilies" in unit:
        families = {
            {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}[each]
            for each in unit["RestrictAddressFamilies"][0].split()
        }
        for family in {*range(46)} - families:
            narrow.add(fail(errno.EAFNOSUPPORT), "socket", Rule(0, EQ, family, 0))
    if "MemoryDenyWriteExecute" in unit:
        narrow.add(refused, "mmap", Rule(2, MASKED, WRITE | EXEC, WRITE | EXEC))
        for call in ("mprotect", "pkey_mprotect"):
            narrow.add(refused, call, Rule(2, MASKED, EXEC, EXEC))
        narrow.add(refused, "shmat", Rule(2, MASKED, 0o100000, 0o100000))
    if "RestrictNamespaces" in unit:
        narrow.add(fail(errno.ENOSYS), "clone3")
        for bit in range(32):
            if NAMESPACES & 1 << bit:
                narrow.add(refused, "clone", Rule(0, MASKED, 1 << bit, 1 << bit))
        narrow.add(refused, "unshare")
        narrow.add(refused, "setns")
    if "RestrictSUIDSGID" in unit:
        for bit in (0o4000, 0o2000):
            for call, arg in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2), ("mknod", 1)):
                narrow.add(refused, call, Rule(arg, MASKED, bit, bit))
        narrow.add(fail(errno.ENOSYS), "openat2")
    if "LockPersonality" in unit:
        narrow.add(refused, "personality", Rule(0, NE, 0xFFFFFFFF, 0))
    return [narrow, whole]


def limit(unit: dict[str, list[str]]) -> bool:
    """Whether memory may be locked by its limit: not every root may raise one."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError:
        return False
    return "LimitMEMLOCK" in unit


def drop(uid: int, gid: int, *, keep: set[int]) -> None:
    """Become the user, with these capabilities and no way to any other."""
    for each in range(64):
        if each not in keep:
            LIBC.prctl(24, each, 0, 0, 0)  # PR_CAPBSET_DROP
    LIBC.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    bits = sum(1 << each for each in keep)
    data = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    assert LIBC.capset((ctypes.c_uint32 * 2)(0x20080522, 0), data) == 0
    for each in keep:
        LIBC.prctl(47, 2, each, 0, 0)  # PR_CAP_AMBIENT_RAISE


def main(unit_file: str, uid: str, gid: str, *program: str) -> None:
    unit = directives(Path(unit_file))
    deadly = program[0] == "--deadly"
    made = filters(unit, deadly=deadly)
    may_lock = limit(unit)
    see_less(unit)
    drop(int(uid), int(gid), keep=set() if may_lock else {IPC_LOCK})
    os.umask(int(unit["UMask"][0], 8))
    LIBC.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    for each in made:
        each.load()
    command = program[1:] if deadly else program
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
