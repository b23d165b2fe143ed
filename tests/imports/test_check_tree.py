"""`setup/check_tree.py` finds what must not stand in the tree, and the tree has none of it."""

import importlib.util
import subprocess
from pathlib import Path

import pytest

from tests.imports.tree import TOP

SPEC = importlib.util.spec_from_file_location("check_tree", TOP / "setup/check_tree.py")
check_tree = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_tree)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty git checkout that ignores `build/`."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("build/\n")
    return tmp_path


# put together here, so that this file has none of them
@pytest.mark.parametrize(
    "planted",
    [
        "see https://" + "py" + "pi.org/simple",
        "deb http://" + "deb.deb" + "ian.org/debian bookworm main",
        "https://files.python" + "hosted.org/packages/x",
        "pip install --index" + "-url http://mirror.example",
        "open('/" + "root/keys')",
        "cd /" + "home/alice/src",
        "(/" + "work/main)",
    ],
)
def test_planted_line_is_found(planted: str, checkout: Path, capsys) -> None:
    (checkout / "notes.md").write_text(f"first line\n{planted}\n")
    assert check_tree.main(checkout) == 1
    assert "notes.md:2:" in capsys.readouterr().err


def test_binary_is_found(checkout: Path, capsys) -> None:
    (checkout / "firmware.elf").write_bytes(b"\x7fELF\xff\xfe")
    assert check_tree.main(checkout) == 1
    assert "no binaries" in capsys.readouterr().err


def test_ignored_file_and_harmless_lines_pass(checkout: Path) -> None:
    (checkout / "build").mkdir()
    (checkout / "build/x").write_text("/" + "root/keys")
    (checkout / "notes.md").write_text("$STATE/home/keys  ./work/x  /v1/pins  https://example.org/opt/x\n")
    assert check_tree.main(checkout) == 0


def test_lock_names_hashes_and_no_address() -> None:
    for lock in ("requirements.txt", "requirements-dev.txt"):
        lines = (TOP / lock).read_text().splitlines()
        pins = [line for line in lines if line and not line.startswith((" ", "#"))]
        hashes = [line for line in lines if line.startswith("    --hash=sha256:")]
        assert pins, lock
        assert all("==" in pin and pin.endswith(" \\") for pin in pins)
        assert len(pins) + len(hashes) == len([line for line in lines if not line.startswith("#")])
        assert "://" not in "\n".join(lines)
