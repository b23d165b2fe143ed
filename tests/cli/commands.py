"""Typing commands: as processes of their own, or, where the process is not the point, inside this one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from station.__main__ import loaded
from tests import warm

STATION = str(Path(sys.executable).with_name("station"))


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict]:
        """stdout as JSON lines; whatever is not one fails the test."""
        return [json.loads(line) for line in self.lines]


def station(*words: object, timeout: float = 60, environment: Mapping[str, str] | None = None) -> Done:
    """The command in a process of its own, nobody at a terminal; `environment` says more than this process's own."""
    done = warm.run([STATION, *map(str, words)], timeout=timeout, env={**os.environ, **(environment or {})})
    return Done(done.returncode, done.stdout, done.stderr)


def typed(*words: object) -> Done:
    """The same entry point in this process: starting Python a hundred times would take the minute."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["station", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            loaded()()
        except SystemExit as end:
            code = int(end.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
