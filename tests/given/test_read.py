"""The one reader of files that people give: plain files within the limit, and at once a sentence for anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import given

pytestmark = pytest.mark.timeout(10)


def refused(path: Path) -> str:
    try:
        given.read(path)
    except OSError as error:
        return error.strerror or ""
    return "read"


@pytest.mark.parametrize("size", [0, 1, given.MAX_BYTES])
def test_a_plain_file_is_read_whole(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"\xff" * size)
    (tmp_path / "link").symlink_to("file")
    assert given.read(tmp_path / "file") == given.read(tmp_path / "link") == b"\xff" * size


@pytest.mark.parametrize("size", [given.MAX_BYTES + 1, 1 << 40])
def test_no_more_than_the_limit_is_read(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", size)
    assert refused(tmp_path / "file") == f"more than {given.MAX_BYTES} bytes"


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero"), Path("/dev/null")):
        assert refused(path) == "not a plain file"


def test_control_a_fifo_and_a_device_without_end_stop_a_plain_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reading = "import pathlib, sys; pathlib.Path(sys.argv[1]).read_bytes()"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", reading, str(tmp_path / "fifo")], timeout=1, check=False)


def test_names_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert refused(tmp_path / "circle") == "Too many levels of symbolic links"
    assert refused(tmp_path / "none") == "No such file or directory"
    assert refused(tmp_path / "n\0ne") == "no file can have this name"
    assert refused(tmp_path / ("n" * 300)) == "File name too long"
