"""A package whose file is not the one of the lock is not installed: the set-up's own script, and the real pip."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "setup" / "python.sh"


def wheel(directory: Path, body: str) -> Path:
    """The least that pip takes as a package."""
    path = directory / "planted-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("planted.py", body)
        archive.writestr("planted-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        archive.writestr(
            "planted-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("planted-1.0.dist-info/RECORD", "")
    return path


@pytest.mark.parametrize("changed", [False, True])
def test_a_package_that_was_changed_is_not_installed(tmp_path: Path, *, changed: bool) -> None:
    found, target, lock = wheel(tmp_path, "x = 1\n"), tmp_path / "target", tmp_path / "lock"
    lock.write_text(f"planted==1.0 \\\n    --hash=sha256:{hashlib.sha256(found.read_bytes()).hexdigest()}\n")
    if changed:
        wheel(tmp_path, "x = 2\n")
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    own = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_TARGET": str(target), "PATH": "/usr/bin:/bin"}
    command: list[str | Path] = ["/bin/sh", SCRIPT, "python", tmp_path / "venv", tmp_path / "log", lock, "--add"]
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert (done.returncode, (target / "planted.py").exists()) == ((1, False) if changed else (0, True)), done.stderr
    assert ("DO NOT MATCH THE HASHES" in done.stderr) is changed
