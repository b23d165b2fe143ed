"""The process that has imported everything our programs need and forks them: see `tests.warm`.

Run by `python -m tests.forking FD`; a job comes over the socket FD with its stdin, stdout, stderr and the pipe on which its
process id and, at its end, its exit code are told. Has one thread, and opens nothing before it forks.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PROGRAMS = {"station": "station", "station-signer": "hsm", "station-registry": "registry"}
MODULES = {*PROGRAMS.values(), "tests.registry.child", "tests.registry.fleet_child"}
_PR_SET_PDEATHSIG = 1


def main(channel: socket.socket) -> None:
    """Serve until the other end has gone; returns in no child."""
    _load()
    assert threading.active_count() == 1, "what has other threads must not fork"
    gc.freeze()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            os.read(woken, 1 << 10)
            _reap(children)
        if channel in ready:
            said, fds, _, _ = socket.recv_fds(channel, 1 << 20, 4)
            if not said:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (woken, wakes, channel.detach(), *children.values(), fds.pop()):
                    os.close(each)
                _be(json.loads(said), fds)
            children[pid] = fds[3]
            os.write(fds[3], pid.to_bytes(4, "little"))
            for each in fds[:3]:
                os.close(each)


def _load() -> None:
    """All that a command may import when it is at work."""
    for name in ("trust", "given", "ledger", "hsm", "fixtures", "station", "registry"):
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    for name in MODULES:
        importlib.import_module(name if name.startswith("tests.") else f"{name}.__main__")


def _reap(children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        told = children.pop(pid)
        with suppress(BrokenPipeError):  # whoever asked gave up
            os.write(told, os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
        os.close(told)


def _be(job: dict[str, object], files: list[int]) -> None:
    """The program, in a child; ends it as Python would end it. It ends with the process that forked it, too."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    for number, each in enumerate(files):
        os.dup2(each, number)
        os.close(each)
    os.chdir(str(job["cwd"]))
    os.environ.clear()
    os.environ.update(job["env"])  # type: ignore[call-overload]
    module, sys.argv = str(job["module"]), list(job["argv"])  # type: ignore[call-overload]
    code = 0
    try:
        if sys.argv[1:2] == ["-m"]:
            del sys.argv[1:3]
            sys.modules.pop(f"{module}.__main__", None)
            sys.modules.pop(module if module.startswith("tests.") else "", None)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            code = _code(sys.modules[f"{module}.__main__"].main())
    except SystemExit as end:
        code = _code(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _code(ended: object) -> int:
    """What Python makes of what a program returns or gives to sys.exit."""
    if ended is None or isinstance(ended, int):
        return ended or 0
    print(ended, file=sys.stderr)
    return 1


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
