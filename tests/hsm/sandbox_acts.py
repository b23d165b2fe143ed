"""A program that tries what a signer never needs, and prints the outcome of each act as JSON: "done", "refused" or "broken".

`sandbox_acts.py DIRECTORY`: one that the program's user may write to. Each act leaves the machine as it was, so that root
can run it as a control.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
REFUSALS = {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSYS, errno.EAFNOSUPPORT, errno.ENXIO}
Act = Callable[[Path], object]
ACTS: dict[str, Act] = {}


def act(name: str) -> Callable[[Act], Act]:
    def kept(function: Act) -> Act:
        ACTS[name] = function
        return function

    return kept


def call(name: str, *arguments: object) -> int:
    function = getattr(LIBC, name)
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    return int(checked(function(*arguments)))


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def in_child(work: Callable[[], object]) -> None:
    """An act that changes the process; its error number comes back as the exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    if os.WIFEXITED(ended) and os.WEXITSTATUS(ended):
        raise OSError(os.WEXITSTATUS(ended), "in the child")


for number in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"):
    ACTS[f"socket {number}"] = lambda _, number=number: socket.socket(  # type: ignore[misc]
        getattr(socket, number), socket.SOCK_RAW if number in {"AF_NETLINK", "AF_PACKET"} else socket.SOCK_STREAM
    ).close()


@act("memory to write and execute")
def _write_execute(_: Path) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


@act("make written memory executable")
def _make_executable(_: Path) -> None:
    page = mmap.mmap(-1, 4096)
    call("mprotect", ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page))), ctypes.c_size_t(4096), 5)


for flag, number in (("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000), ("pid", 0x20000000)):
    ACTS[f"new {flag} namespace"] = lambda _, number=number: in_child(lambda: call("unshare", number))  # type: ignore[misc]


@act("mount")
def _mount(_: Path) -> None:
    in_child(lambda: (call("unshare", 0x20000), call("mount", b"none", b"/mnt", b"tmpfs", 0, None)))


@act("be traced")
def _trace(_: Path) -> None:
    in_child(lambda: call("ptrace", 0, 0, None, None))


@act("become another user")
def _setuid(_: Path) -> None:
    in_child(lambda: os.setresuid(12345, 12345, 12345))


@act("join other groups")
def _setgroups(_: Path) -> None:
    in_child(lambda: os.setgroups([12345]))


@act("change root")
def _chroot(_: Path) -> None:
    in_child(lambda: os.chroot("/"))


@act("give a file away")
def _chown(place: Path) -> None:
    (place / "given").touch()
    os.chown(place / "given", 12345, 12345)


@act("make a program that runs as its owner")
def _set_user_id(place: Path) -> None:
    (place / "program").touch()
    (place / "program").chmod(0o4700)
    assert (place / "program").stat().st_mode & stat.S_ISUID


@act("make a device node")
def _mknod(place: Path) -> None:
    os.mknod(place / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))


@act("ask for the clock as those who set it do")
def _clock(_: Path) -> None:
    call("adjtimex", (ctypes.c_char * 208)())


@act("set the host's name")
def _hostname(_: Path) -> None:
    name = socket.gethostname().encode()
    call("sethostname", name, len(name))


@act("change its personality")
def _personality(_: Path) -> None:
    in_child(lambda: call("personality", ctypes.c_ulong(0x0040000)))


@act("real-time priority")
def _realtime(_: Path) -> None:
    in_child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))


@act("raise its priority")
def _nice(_: Path) -> None:
    in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -1))


@act("use the keyring")
def _keyring(_: Path) -> None:
    call("syscall", ctypes.c_long(248), b"user", b"ks-test", b"x", ctypes.c_size_t(1), ctypes.c_long(-1))


@act("io_uring")
def _io_uring(_: Path) -> None:
    os.close(call("syscall", ctypes.c_long(425), ctypes.c_long(1), (ctypes.c_char * 120)()))


@act("watch with userfaultfd")
def _userfaultfd(_: Path) -> None:
    os.close(call("syscall", ctypes.c_long(323), ctypes.c_long(1)))


@act("load a BPF map")
def _bpf(_: Path) -> None:
    attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)  # an array of one number
    os.close(call("syscall", ctypes.c_long(321), ctypes.c_long(0), attributes, ctypes.c_long(128)))


@act("open by handle")
def _handle(place: Path) -> None:
    handle = (ctypes.c_uint32 * 34)(128)
    call("name_to_handle_at", -100, os.fsencode(place), handle, ctypes.byref(ctypes.c_int()), 0)
    directory = os.open(place, os.O_RDONLY)
    os.close(call("open_by_handle_at", directory, handle, os.O_RDONLY))


for path in ("/etc", "/usr", "/var", "/srv"):
    ACTS[f"write to {path}"] = lambda _, path=path: _written(Path(path, f"ks-{os.getpid()}"))  # type: ignore[misc]


def _written(path: Path) -> None:
    path.touch()
    path.unlink()


OPENED = ("/dev/kmsg", "/dev/tty0", "/dev/mem", "/proc/1/status", "/proc/meminfo", "/proc/sys/kernel/osrelease")
for path in OPENED:
    ACTS[f"open {path}"] = lambda _, path=path: Path(path).open("rb").close()  # type: ignore[misc]


@act("see what others keep in /tmp")
def _tmp(_: Path) -> None:
    if not [*Path("/tmp").iterdir()]:
        raise FileNotFoundError(errno.ENOENT, "nothing there")


@act("signal another's process")
def _kill(_: Path) -> None:
    os.kill(1, 0)


@act("see a process that is another's")
def _others(_: Path) -> None:
    users = {_uid(each) for each in Path("/proc").iterdir() if each.name.isdecimal()}
    if os.getuid() != 0 and users <= {None, os.getuid()}:
        raise FileNotFoundError(errno.ENOENT, "none")


def _uid(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


@act("run a 32-bit system call")
def _other_architecture(_: Path) -> None:
    """x32 and i386 calls pass by a filter that looks at numbers only; here the kernel kills for them."""
    child = os.fork()
    if child == 0:
        LIBC.syscall(ctypes.c_long(0x40000000 + 39))
        os._exit(0)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        assert os.WTERMSIG(ended) in {signal.SIGSYS, signal.SIGKILL}
        raise PermissionError(errno.EPERM, "killed")


def outcome(function: Act, place: Path) -> str:
    try:
        function(place)
    except OSError as error:
        return "refused" if error.errno in REFUSALS else f"broken: {error!r}"
    except Exception as error:
        return f"broken: {error!r}"
    return "done"


if __name__ == "__main__":
    print(json.dumps({name: outcome(each, Path(sys.argv[1])) for name, each in ACTS.items()}))
