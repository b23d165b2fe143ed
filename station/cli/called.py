"""How the program was called, so that every command it shows can be typed in that very shell."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

PROGRAMS = ("station", "station-signer", "station-registry")
_COMMAND = re.compile(
    r"(?<![\w./-])station(?:-signer|-registry)?(?= (?:demo|run|check|device|ledger|init|serve|status)\b)"
)


def as_called(program: str = "station") -> str:
    """A program of ours as this user can type it: by its name where PATH leads to it, else with the way to it."""
    me = Path(sys.argv[0])
    if me.name not in PROGRAMS or len(me.parts) == 1:
        return program
    there = me.with_name(program)
    found = shutil.which(program)
    if found is not None and there.exists() and there.samefile(found):
        return program
    relative = os.path.relpath(there)
    if relative.startswith(".."):
        return str(there)
    return relative if os.sep in relative else f"./{relative}"


def typeable(text: str) -> str:
    """The text with each command of ours in it as this user can type it."""
    return _COMMAND.sub(lambda found: as_called(found[0]), text)
