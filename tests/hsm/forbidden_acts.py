"""A program that tries what nobody but the signer's user may do to a signer, and prints one line of JSON for each act.

Run as some other user: `forbidden_acts.py DIRECTORY PID TOKEN_FILE HOME [PREFIX]`; with a prefix, only acts whose name
begins so. Outcomes: "done", "refused" (EACCES, EPERM), or "broken" with the reason: the act tried something else than it
was meant to. Knows the standard library only, as it runs where the project may be out of reach.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True, slots=True)
class Target:
    directory: Path
    pid: int
    token_file: Path
    home: Path

    @property
    def proc(self) -> Path:
        return Path(f"/proc/{self.pid}")


Act = Callable[[Target], object]
ACTS: dict[str, Act] = {}


def act(name: str) -> Callable[[Act], Act]:
    def kept(function: Act) -> Act:
        ACTS[name] = function
        return function

    return kept


def called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# ---- the process: what its own user's other processes must not do either


def memory(target: Target) -> int:
    """An address that can be read; any, where maps are closed: permission is asked first."""
    try:
        maps = (target.proc / "maps").read_text()
    except PermissionError:
        return 0x400000
    found = re.search(r"^([0-9a-f]+)-[0-9a-f]+ r..p .*\[heap\]$", maps, re.MULTILINE)
    assert found, maps
    return int(found[1], 16)


for entry in ("environ", "maps", "smaps", "auxv", "pagemap", "io", "personality", "syscall"):
    ACTS[f"process: read {entry}"] = lambda target, entry=entry: (target.proc / entry).open("rb").read(16)  # type: ignore[misc]
for entry in ("root", "cwd", "exe", "ns/mnt"):
    ACTS[f"process: follow {entry}"] = lambda target, entry=entry: (target.proc / entry).readlink()  # type: ignore[misc]


@act("process: list fd")
def _list_fd(target: Target) -> None:
    assert [*(target.proc / "fd").iterdir()]


@act("process: open its files again through fd")
def _fd(target: Target) -> None:
    for number in range(256):
        try:
            if (target.proc / "fd" / str(number)).readlink().name == "counters.db":
                (target.proc / "fd" / str(number)).open("rb").read(16)
                return
        except FileNotFoundError:
            continue
    raise AssertionError("no such descriptor")


@act("process: list map_files")
def _map_files(target: Target) -> None:
    assert [*(target.proc / "map_files").iterdir()]


@contextmanager
def _mem(target: Target, path: Path, mode: str) -> Iterator[None]:
    with path.open(mode, buffering=0) as file:
        file.seek(memory(target))
        old = file.read(8)
        assert len(old) == 8
        yield
        if "+" in mode:
            file.seek(memory(target))
            file.write(old)


@act("process: read mem")
def _read_mem(target: Target) -> None:
    with _mem(target, target.proc / "mem", "rb"):
        pass


@act("process: write mem")
def _write_mem(target: Target) -> None:
    with _mem(target, target.proc / "mem", "r+b"):
        pass


@act("process: read mem of a thread")
def _task_mem(target: Target) -> None:
    with _mem(target, target.proc / "task" / str(target.pid) / "mem", "rb"):
        pass


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


def _vm(call: Callable[..., int], target: Target) -> None:
    here = mmap.mmap(-1, 4096)
    local = _Vector(ctypes.addressof(ctypes.c_char.from_buffer(here)), 8)
    remote = _Vector(memory(target), 8)
    called(call(target.pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0))


@act("process: process_vm_readv")
def _readv(target: Target) -> None:
    _vm(LIBC.process_vm_readv, target)


@act("process: process_vm_writev")
def _writev(target: Target) -> None:
    _vm(LIBC.process_vm_writev, target)


@act("process: ptrace attach")
def _attach(target: Target) -> None:
    called(LIBC.ptrace(PTRACE_ATTACH, target.pid, None, None))
    os.waitpid(target.pid, 0x40000000)
    called(LIBC.ptrace(PTRACE_DETACH, target.pid, None, None))


@act("process: ptrace seize")
def _seize(target: Target) -> None:
    called(LIBC.ptrace(PTRACE_SEIZE, target.pid, None, None))
    os.kill(target.pid, signal.SIGSTOP)
    os.waitpid(target.pid, 0x40000000)
    called(LIBC.ptrace(PTRACE_DETACH, target.pid, None, None))
    os.kill(target.pid, signal.SIGCONT)


@act("process: take a descriptor with pidfd_getfd")
def _getfd(target: Target) -> None:
    pidfd = os.pidfd_open(target.pid)
    called(LIBC.syscall(438, pidfd, 0, 0))


@act("process: compare with kcmp")
def _kcmp(target: Target) -> None:
    called(LIBC.syscall(312, target.pid, os.getpid(), 1, 0, 0))


@act("process: raise its limit of core files")
def _core_limit(target: Target) -> None:
    resource.prlimit(target.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@act("process: put all of its memory into core files")
def _coredump_filter(target: Target) -> None:
    (target.proc / "coredump_filter").write_text("0xff")


# ---- what another user must not do to it


@act("other: bind it to one processor")
def _affinity(target: Target) -> None:
    os.sched_setaffinity(target.pid, {min(os.sched_getaffinity(0))})


@act("other: lower its priority")
def _priority(target: Target) -> None:
    os.setpriority(os.PRIO_PROCESS, target.pid, 19)


@act("other: lower its limit of files")
def _limit(target: Target) -> None:
    resource.prlimit(target.pid, resource.RLIMIT_NOFILE, (1024, 1024))


@act("other: make it the first to be killed")
def _oom(target: Target) -> None:
    (target.proc / "oom_score_adj").write_text("1000")


# ---- its files


def _opened(path: Path) -> None:
    assert path.open("rb").read(1)


for entry in ("user-pin", "so-pin", "counters.db"):
    ACTS[f"file: read {entry}"] = lambda target, entry=entry: _opened(target.directory / entry)  # type: ignore[misc]
for entry in ("signer.toml", "public.json", "softhsm2.conf", "counters.db", "user-pin"):
    ACTS[f"file: open {entry} to write"] = lambda target, entry=entry: (target.directory / entry).open("ab").close()  # type: ignore[misc]
for entry in ("signer.toml", "user-pin", "run", "tokens", "."):
    ACTS[f"file: chmod {entry}"] = lambda target, entry=entry: (target.directory / entry).chmod(0o777)  # type: ignore[misc]


@act("file: list tokens")
def _list_tokens(target: Target) -> None:
    assert [*(target.directory / "tokens").iterdir()]


@act("file: read a token's object")
def _token_object(target: Target) -> None:
    _opened(target.token_file)


@act("file: make one in tokens")
def _into_tokens(target: Target) -> None:
    (target.directory / "tokens" / "more").write_bytes(b"")


@act("file: watch tokens with inotify")
def _inotify(target: Target) -> None:
    called(LIBC.inotify_add_watch(called(LIBC.inotify_init()), os.fsencode(target.directory / "tokens"), 2))


@act("file: read the PIN through a symbolic link")
def _symlink(target: Target) -> None:
    (target.home / "link").symlink_to(target.directory / "user-pin")
    _opened(target.home / "link")


@act("file: read the PIN through a hard link")
def _hard_link(target: Target) -> None:
    os.link(target.directory / "user-pin", target.home / "hard")
    _opened(target.home / "hard")


@act("file: read the PIN through O_PATH and /proc/self/fd")
def _o_path(target: Target) -> None:
    descriptor = os.open(target.directory / "user-pin", os.O_PATH)
    _opened(Path(f"/proc/self/fd/{descriptor}"))


@act("file: read the PIN as root of a user namespace")
def _namespace(target: Target) -> None:
    script = "import ctypes,os,sys; u=os.getuid(); ctypes.CDLL(None).unshare(0x10000000) and sys.exit(2);"
    script += "open('/proc/self/uid_map','w').write(f'0 {u} 1'); os.getuid() and sys.exit(2); open(sys.argv[1]).read()"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, target.directory / "user-pin"], capture_output=True, text=True, check=False
    )
    if "PermissionError" in done.stderr or done.returncode == 2:  # 2: the kernel gives no such namespace
        raise PermissionError(errno.EACCES, "in a namespace, too")
    assert done.returncode == 0, done.stderr


@act("file: open the token with SoftHSM under another configuration")
def _softhsm(target: Target) -> None:
    conf = target.home / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {target.directory / 'tokens'}\nobjectstore.backend = file\n")
    done = subprocess.run(
        ["softhsm2-util", "--show-slots"], env={**os.environ, "SOFTHSM2_CONF": str(conf)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not re.search(r"Label: +st-01", done.stdout):
        raise PermissionError(errno.EACCES, "no such token")


for entry in ("serving.lock", "token.lock"):

    @act(f"file: hold {entry}, which would keep a signer from starting")
    def _lock(target: Target, entry: str = entry) -> None:
        descriptor = os.open(target.directory / entry, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the signer has it: it could be had when the signer ends
            return


# ---- its directories; nothing is as it was after these


@act("place: make a file in the directory")
def _make(target: Target) -> None:
    (target.directory / "new").write_bytes(b"")


@act("place: link the PIN into the socket's directory")
def _link_in(target: Target) -> None:
    os.link(target.directory / "user-pin", target.directory / "run" / "user-pin")


@act("place: listen in the socket's directory")
def _listen(target: Target) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(str(target.directory / "run" / "mine.sock"))


@act("place: put a socket of one's own over the signer's")
def _replace_socket(target: Target) -> None:
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(str(target.home / "mine.sock"))
    (target.home / "mine.sock").replace(target.directory / "run" / "signer.sock")


@act("place: change the socket's mode")
def _socket_mode(target: Target) -> None:
    (target.directory / "run" / "signer.sock").chmod(0o666)


@act("place: unlink the socket")
def _unlink_socket(target: Target) -> None:
    (target.directory / "run" / "signer.sock").unlink()


@act("place: put a signer.toml of one's own over the signer's")
def _replace_toml(target: Target) -> None:
    (target.home / "signer.toml").write_text("allowed_uids = []\n")
    (target.home / "signer.toml").replace(target.directory / "signer.toml")


for entry in ("so-pin", "serving.lock", "softhsm2.conf", "counters.db"):
    ACTS[f"place: unlink {entry}"] = lambda target, entry=entry: (target.directory / entry).unlink()  # type: ignore[misc]


@act("place: put a link in the place of user-pin")
def _swap(target: Target) -> None:
    (target.home / "swap").symlink_to(target.home)
    (target.home / "swap").replace(target.directory / "user-pin")


@act("place: rename the socket's directory")
def _rename_run(target: Target) -> None:
    (target.directory / "run").rename(target.directory / "away")


@act("place: make a directory in the directory")
def _new_run(target: Target) -> None:
    (target.directory / "more").mkdir()


@act("place: rename the signer's directory")
def _rename_all(target: Target) -> None:
    target.directory.rename(target.directory.with_name("gone"))


# ---- the end of it

for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGABRT, signal.SIGKILL):

    @act(f"signal: {number.name}")
    def _signal(target: Target, number: signal.Signals = number) -> None:
        try:
            os.kill(target.pid, number)
        except ProcessLookupError:  # ended by the one before
            return
        time.sleep(0.01)


def outcome(function: Act, target: Target) -> str:
    try:
        function(target)
    except PermissionError:
        return "refused"
    except Exception as error:
        return f"broken: {error!r}"
    return "done"


def main(directory: str, pid: str, token_file: str, home: str, prefix: str = "") -> None:
    target = Target(Path(directory), int(pid), Path(token_file), Path(home))
    print(json.dumps({name: outcome(each, target) for name, each in ACTS.items() if name.startswith(prefix)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
