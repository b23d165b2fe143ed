"""How the program was called, so that every command it shows can be typed in that very shell.

Commands in sentences are written with `--config FILE`, `--dir DIR` and `--root ROOT`, and completed here. Must never
guess: what this machine's settings do not tell stays a word in capitals.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from station import config as settings
from station.faults import Fault

PROGRAMS = ("station", "station-signer", "station-registry")
_COMMAND = re.compile(
    r"(?<![\w./-])station(?:-signer|-registry)?(?= (?:demo|run|check|device|ledger|init|serve|status|retry-pin)\b)"
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


def shown(path: Path) -> str:
    """A path as one would type it here: relative if it lies below."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


@dataclass(slots=True)
class Here:
    """The settings that this command was given: what completes the commands it shows. None: it has not come so far."""

    config_file: Path | None = None

    def typeable(self, text: str) -> str:
        """The text with each command of ours in it as this user can type it, on this machine where that is known."""
        if not _COMMAND.search(text):
            return text
        for option, word in self._words().items():
            text = text.replace(option, f"{option.partition(' ')[0]} {shlex.quote(word)}")
        return _COMMAND.sub(lambda found: as_called(found[0]), text)

    def _words(self) -> dict[str, str]:
        """What stands for FILE, DIR and ROOT; nothing for what cannot be known from here."""
        if self.config_file is None:
            return {}
        words = {"--config FILE": shown(self.config_file)}
        try:
            paths = settings.load(self.config_file)[1]
        except Fault:
            return words
        signer = paths.signer_socket.parent.parent  # where `station-signer init` puts the socket, unless it was told
        if _is_mine(signer / "signer.toml"):
            words |= {"--dir DIR": shown(signer), "--root ROOT": shown(paths.root)}
        return words


def _is_mine(file: Path) -> bool:
    """Whether it is this user's: an installed signer is another user's, with a root file of its own, and a service."""
    try:
        return file.stat().st_uid == os.geteuid()
    except OSError:
        return False
