# ruff: noqa: INP001 - a script beside documents, not a package
"""Makes docs/demo.svg: a real run of `station demo` on a terminal of its own, and what is on the screen at its end.

    .venv/bin/python docs/make_picture.py [emulated|native|in-process]

Must never show anything that the run did not print; only the scratch directory's own path is left out, so that the
picture does not tell whose machine it was made on.
"""

import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

TOP = Path(__file__).resolve().parents[1]
COLUMNS, ROWS = 82, 80
PIECES = re.compile(r"\x1b\[(\?[0-9]+|[0-9;]*)([a-zA-Z])|\r?\n|\r|[^\x1b\r\n]+")
# rich's own page without its web font: a picture must not load anything
PAGE = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg" xml:space="preserve">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect fill="#272822" x="0" y="0" width="{terminal_width}" height="{terminal_height}" rx="8"/>
<g clip-path="url(#{unique_id}-clip-terminal)" transform="translate(9, 9)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


class Screen:
    """As much of a terminal as the demo uses: lines, colours, up, erase line. Anything else is refused, not guessed."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def feed(self, output: str) -> None:
        """Take all output in."""
        for piece in PIECES.finditer(output):
            self._take(piece[0], piece[1], piece[2])

    def _take(self, text: str, numbers: str | None, command: str | None) -> None:
        if text.endswith("\n"):
            self._row += 1
            self.lines += [""] * (self._row + 1 - len(self.lines))
        elif command == "A":
            self._row = max(0, self._row - int(numbers or 1))
        elif command == "K":
            self.lines[self._row] = ""
        elif command is None or command == "m":
            self.lines[self._row] += text.rstrip("\r")
        elif command not in {"h", "l"}:
            raise ValueError(f"the picture's terminal does not know {text!r}")


def run(command: list[str], directory: Path) -> str:
    """What the command writes to its terminal; CalledProcessError if it fails."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    # The commands shown are without their way, as for a user who has them on PATH.
    path = f"{Path(command[0]).parent}:{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    child = subprocess.Popen(command, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    output = bytearray()
    try:
        while part := os.read(master, 1 << 16):
            output += part
    except OSError:  # Linux: the last holder of the slave has gone
        pass
    if child.wait():
        raise subprocess.CalledProcessError(child.returncode, command, output.decode())
    return output.decode()


def main(board: str) -> None:
    """Run the demo in a directory of its own and write the picture."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        directory = Path(name).resolve()
        (directory / "config.example.toml").write_bytes((TOP / "config.example.toml").read_bytes())
        station = Path(sys.executable).with_name("station")
        output = run([str(station), "demo", "--bench", board], directory)
    screen = Screen()
    screen.feed(f"\x1b[1m$ station demo --bench {board}\x1b[0m\n" + output.replace(f"{directory}/", ""))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(screen.lines).rstrip()))
    console.print("\n")  # the page is one line short
    picture = console.export_svg(theme=MONOKAI, code_format=PAGE, unique_id="demo")
    (TOP / "docs" / "demo.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "emulated")
