"""A command on a terminal of its own, and what stands on its screen: as much of a terminal as our programs use."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path
from typing import Self

PIECES = re.compile(r"\x1b\[(\?[0-9]+|[0-9;]*)([a-zA-Z])|\r|\n|[^\x1b\r\n]")

UNFINISHED = re.compile(r"\x1b(\[[0-9;?]*)?$")


class Screen:
    """Lines and where the cursor is; colours are kept apart. Refuses what it does not know, rather than guessing."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self.lines = [""]
        self.colours: set[str] = set()
        self._row, self._column = 0, 0

    def feed(self, output: str) -> None:
        for piece in PIECES.finditer(output):
            match piece[2], piece[0]:
                case None, "\r":
                    self._column = 0
                case None, "\n":
                    self._down()
                case None, letter:
                    self._put(letter)
                case "A", _:
                    self._row = max(0, self._row - int(piece[1] or 1))
                case "K", _:
                    self.lines[self._row] = ""
                case "m", _:
                    self.colours.add(piece[1])
                case "h" | "l", _:
                    pass
                case command, _:
                    raise ValueError(f"this terminal does not know {command!r}")

    def _put(self, letter: str) -> None:
        if self._column == self._columns:
            self._column = 0
            self._down()
        line = self.lines[self._row].ljust(self._column)
        self.lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self.lines):
            self.lines.append("")

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


class OnTerminal:
    """A running command whose stdin, stderr and, unless `stdout` is given, stdout are a terminal."""

    def __init__(
        self, command: list[str], *, columns: int = 80, stdout: int | None = None, cwd: Path | None = None
    ) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 60, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdin=slave, stderr=slave, stdout=slave if stdout is None else stdout,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - one thread here
        )  # fmt: skip
        os.close(slave)
        self.screen = Screen(columns)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._cut = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def press(self, key: str) -> None:
        """A key; Ctrl-C is "\\x03"."""
        os.write(self._master, key.encode())

    def wait_until(self, shown: Callable[[str], bool], timeout_s: float = 20.0) -> None:
        """Read on until the screen shows it; where it never does, the test fails with what the screen shows instead."""
        deadline = time.monotonic() + timeout_s
        while not shown(self.screen.text):
            assert self._read(deadline), f"it ended: {self.screen.text}"

    def end(self, timeout_s: float = 30.0) -> int:
        """Read to the end; the exit code. A command that does not end fails the test with what the screen shows."""
        deadline = time.monotonic() + timeout_s
        while self._read(deadline):
            pass
        return self.process.wait(timeout_s)

    def _read(self, deadline: float) -> bool:
        """More of the output, if there is any before the deadline; False at its end."""
        left_s = deadline - time.monotonic()
        heard = left_s > 0 and select.select([self._master], [], [], left_s)[0]
        assert heard, f"the time is over; on the screen: {self.screen.text}"
        try:
            text = self._cut + self._decoder.decode(os.read(self._master, 1 << 16))
        except OSError:  # Linux: the last holder of the other end has gone
            return False
        begun = UNFINISHED.search(text)
        end = begun.start() if begun else len(text)
        self._cut = text[end:]
        self.screen.feed(text[:end])
        return True


def _take_terminal() -> None:
    os.setsid()
    ioctl(0, termios.TIOCSCTTY, 0)
