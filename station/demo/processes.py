"""The demo's other programs as child processes: started, waited for until ready, stopped; never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from station.faults import fault

_PR_SET_PDEATHSIG = 1
_STOP_S = 10.0
_INTERRUPTED = 130


def script(name: str) -> str:
    """A console script of this very environment."""
    return str(Path(sys.executable).with_name(name))


def run(argv: list[str], log: Path) -> None:
    """Run a program to its end; its output goes to the log, whose tail is shown if it fails."""
    with log.open("ab") as out:
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False).returncode
    if code:
        raise fault("setup", f"{Path(argv[0]).name} {argv[1]} ended with {code}:\n{_tail(log)}")


def answer(argv: list[str]) -> str:
    """What a program says on stdout; the fault `setup` with what it says on stderr if it fails."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise fault("setup", f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


class Process:
    """One program at work, its output in a log file."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self._log = log
        self._name = Path(argv[0]).name if argv[0] != sys.executable else argv[2]
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread here
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return once ready; the fault `setup` with the log's tail if it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            code = self._child.poll()
            if code is not None:
                raise fault("setup", f"{self._name} ended with {code}:\n{_tail(self._log)}")
            if time.monotonic() > deadline:
                raise fault("setup", f"{self._name} was not ready after {timeout_s:.0f} s:\n{_tail(self._log)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, then make it end."""
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def says(self, word: str) -> bool:
        """Whether the log has a line that begins with this word."""
        return any(line.startswith(word) for line in self._log.read_text(errors="replace").splitlines())


class Interrupts:
    """SIGINT and SIGTERM while the demo runs: handed to the command at work, whose units then come to their end.

    Between two commands they are a KeyboardInterrupt. `any` says whether there has been one.
    """

    def __init__(self) -> None:
        self.any = False
        self._child: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """From here on everything is being stopped anyway."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def run(self, argv: list[str]) -> int:
        """Run a command on this terminal to its end; its exit code, 130 when a signal ended it."""
        self._child = subprocess.Popen(argv, preexec_fn=_die_with_parent)  # noqa: PLW1509 - one thread here
        try:
            code = self._child.wait()
        finally:
            self._child = None
        return code if code >= 0 else _INTERRUPTED

    def _take(self, number: int, _: object) -> None:
        self.any = True
        if self._child is None:
            raise KeyboardInterrupt
        self._child.send_signal(number)


def _tail(log: Path) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-8:])


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        os._exit(1)
