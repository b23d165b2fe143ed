"""Refuses what must not stand in any file of the project: a package registry's address, a path of somebody's machine.

Where packages come from is the machine's own configuration; a clone must work wherever it lies. Must never change a
file, and never look at one that git ignores. Prints `file:line: what` for each finding and exits with 1.
"""

import re
import subprocess
import sys
from pathlib import Path

REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|npmjs|(?:deb|snapshot|archive|security|ftp)\.(?:debian|ubuntu)|proxy\.golang|crates)"
    r"\.(?:org|io|com|net)\b|--(?:extra-)?index-url[ =]\S|--find-links[ =]\S",
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w.$})/])/(?:root|home|work|Users|var/tmp|opt)/\w")
WHOLE_LINES = {
    "a package registry is named; say the package's name only": REGISTRY,
    "a path of one machine; make it relative or a setting": MACHINE,
}


def files(top: Path) -> list[Path]:
    """All files that are or would be committed, sorted."""
    command = ["git", "-C", str(top), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [top / name for name in sorted(set(names)) if name and (top / name).is_file()]


def findings(path: Path) -> list[str]:
    """`line: what` for each line of the file that must not stand there; none for a file that is not text."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [f"1: not a text file: no binaries in the repository{path.suffix and f' ({path.suffix})'}"]
    return [
        f"{number}: {what}: {found[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        for what, pattern in WHOLE_LINES.items()
        if (found := pattern.search(line))
    ]


def main(top: Path) -> int:
    """Check the git checkout at `top`; 0 when clean, 1 with a line for each finding otherwise."""
    if not (top / ".git").exists():
        print("check_tree: no git checkout, so which files are ours is not known: none checked", file=sys.stderr)
        return 0
    bad = [f"{path.relative_to(top)}:{finding}" for path in files(top) for finding in findings(path)]
    for line in bad:
        print(line, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()))
