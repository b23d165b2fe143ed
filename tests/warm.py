"""Our programs as processes of their own that start at once: forked from one that has imported everything.

Starting Python and importing what a program needs takes longer than most commands take. A test of what a command says
and does uses `run` here, one that needs a server `start`; a test of how a program starts, or of its terminal, starts the
program itself. Never forks from the test's own process, which has threads and open tokens; the process that forks has
imported and done nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Self, cast
from unittest import mock

from station.demo import processes
from station.faults import fault
from tests.forking import MODULES, PROGRAMS, TOP

_TURN = threading.Lock()
_ONLY_AT_THE_START = ("PYTHON", "LC_", "LANG", "LD_")  # what Python and the loader read of the environment


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: str = "",  # noqa: A002 - as in subprocess
    timeout: float = 60.0,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run with its output captured as text; other programs than ours are started as always."""
    argv = [str(each) for each in argv]
    wanted = dict(os.environ if env is None else env)
    if _module(argv) is None or _other_python(wanted):
        return subprocess.run(
            argv, cwd=cwd, env=wanted, input=input, timeout=timeout, capture_output=True, text=True, check=check
        )
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(input.encode())
        given.seek(0)
        running = Running(argv, cwd=cwd, env=wanted, stdin=given, stdout=out, stderr=err)
        try:
            code = running.wait(timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise
        out.seek(0)
        err.seek(0)
        done = subprocess.CompletedProcess(argv, code, out.read().decode(), err.read().decode())
    if check:
        done.check_returncode()
    return done


@contextmanager
def programs() -> Iterator[None]:
    """The plants that are made meanwhile run and start their programs by `run` and `start`."""

    def logged(argv: list[str], log: Path) -> None:
        done = run(argv)
        with log.open("a") as out:
            out.write(done.stdout + done.stderr)
        if done.returncode:
            raise fault("setup", f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}:\n{log.read_text()}")

    def answer(argv: list[str]) -> str:
        done = run(argv)
        if done.returncode:
            raise fault("setup", f"{Path(argv[0]).name} {argv[1]} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    started = processes.Process.__init__

    def init(self: processes.Process, argv: list[str], log: Path) -> None:
        if _module(argv) is None:
            started(self, argv, log)
            return
        self._log, self._name = log, Path(argv[0]).name
        with log.open("ab") as out:
            self._child = start(argv, stdout=out, stderr=out)  # type: ignore[assignment]

    with (
        mock.patch.multiple(processes, run=logged, answer=answer),
        mock.patch.object(processes.Process, "__init__", init),
    ):
        yield


def start(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
) -> Running | subprocess.Popen[str]:
    """As subprocess.Popen of a program that serves; `stderr` is a file, or PIPE for its text."""
    argv = [str(each) for each in argv]
    wanted = dict(os.environ if env is None else env)
    if _module(argv) is None or _other_python(wanted):
        return subprocess.Popen(
            argv, cwd=cwd, env=wanted, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, text=True
        )
    return Running(argv, cwd=cwd, env=wanted, stdout=stdout, stderr=stderr)


class Running:
    """A program that was forked, with as much of Popen as tests use."""

    def __init__(
        self,
        argv: list[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        stdin: int | IO[Any] = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> None:
        self.args, self.returncode, self.stderr = argv, cast("int | None", None), cast("IO[str] | None", None)
        job = {"module": _module(argv), "argv": argv, "cwd": str(cwd or Path.cwd()), "env": dict(env)}
        with ExitStack() as stack:
            nothing = os.open(os.devnull, os.O_RDWR)
            stack.callback(os.close, nothing)
            files = [nothing if stdin == subprocess.DEVNULL else _number(stdin, 0), _number(stdout, 1)]
            if stderr == subprocess.PIPE:
                heard, said = os.pipe()
                stack.callback(os.close, said)
                self.stderr = os.fdopen(heard)
                files.append(said)
            else:
                files.append(_number(stderr, 2))
            self._told, tells = os.pipe()
            stack.callback(os.close, tells)
            with _TURN:
                line, _ = _warm()
            socket.send_fds(line, [json.dumps(job).encode()], [*files, tells])
        self.pid = int.from_bytes(self._hear(), "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stderr is not None:
            self.stderr.close()
        self.wait()

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; subprocess.TimeoutExpired when there is none in time."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = int.from_bytes(self._hear(), "little", signed=True)
            os.close(self._told)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said on stderr until its end; not for one that goes on."""
        said = "" if self.stderr is None else self.stderr.read()
        if self.stderr is not None:
            self.stderr.close()
        self.wait(timeout)
        return "", said

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may end between the two
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _hear(self) -> bytes:
        said = os.read(self._told, 4)
        assert len(said) == 4, "the process that forks has gone; why is on stderr"
        return said


def _number(file: int | IO[Any] | None, default: int) -> int:
    return default if file is None else file if isinstance(file, int) else file.fileno()


def _module(argv: Sequence[str]) -> str | None:
    """What these words run of ours."""
    if argv[0] == sys.executable and argv[1] == "-m":
        return argv[2] if argv[2] in MODULES else None
    here = Path(argv[0])
    return PROGRAMS.get(here.name) if here.parent == Path(sys.executable).parent else None


def _other_python(wanted: Mapping[str, str]) -> bool:
    """Whether Python itself would read something else at its start."""
    names = {name for name in {*wanted, *os.environ} if name.startswith(_ONLY_AT_THE_START)}
    return any(wanted.get(name) != os.environ.get(name) for name in names)


@functools.cache
def _warm() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """The line to the process that forks, started when it is first wanted; it ends when this process does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.forking", str(its.fileno())]
    # its stdout is no terminal, as that of its children will not be; what it says itself comes on stderr
    process = subprocess.Popen(
        command, cwd=TOP, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    its.close()
    return ours, process
