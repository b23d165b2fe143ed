"""A disk that cannot be used is set-up: a fault that names path, reason and remedy, before anything is begun."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from station.alone import alone_with
from station.disk import enough_disk, free_at, usable
from station.faults import Fault, LineStop, SetupError

NOBODY = 65534


@contextmanager
def not_root() -> Iterator[None]:
    """Root may write anywhere; nobody may not."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A directory that everyone may read and nobody may write."""
    place = Path(tempfile.mkdtemp(prefix="ks-"))
    place.chmod(0o555)
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


def refusal(database: Path) -> str:
    with pytest.raises(SetupError) as found, alone_with(database):
        pytest.fail("nothing may begin here")
    assert found.value.code == "setup"
    return found.value.detail


def test_the_lock_is_made_with_its_directories(tmp_path: Path) -> None:
    with alone_with(tmp_path / "a" / "b" / "ledger.db"):
        assert (tmp_path / "a" / "b" / "ledger.db.lock").exists()
        assert "is at work with" in refusal(tmp_path / "a" / "b" / "ledger.db")
    with alone_with(tmp_path / "a" / "b" / "ledger.db"):
        pass


@pytest.mark.parametrize("below", ["ledger.db", "station/ledger.db"])
def test_a_file_where_a_directory_must_be(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    told = refusal(tmp_path / "file" / below)
    assert str(tmp_path / "file") in told
    assert "A file stands where a directory must be: move it, or name another `state`" in told


@pytest.mark.parametrize("below", ["ledger.db", "station/ledger.db"])
def test_a_directory_that_may_not_be_written(closed: Path, below: str) -> None:
    with not_root():
        told = refusal(closed / below)
    assert str(closed) in told
    assert "Permission denied. Let the station's user read and write there" in told


def test_a_directory_that_may_not_be_entered(closed: Path) -> None:
    (closed / "inner").mkdir()
    (closed / "inner").chmod(0)
    with not_root(), pytest.raises(SetupError, match="Permission denied"):
        free_at(closed / "inner" / "station")
    assert free_at(closed / "not" / "there") > 0


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free disk space"), (errno.EDQUOT, "Free disk space"), (errno.EROFS, "Let the station's user"), (errno.EIO, "Look at this path")],
)  # fmt: skip
def test_what_else_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str) -> None:
    def refuse(path: Path, *_: object) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "open", refuse)
    told = refusal(tmp_path / "ledger.db")
    assert told.startswith(f"{tmp_path / 'ledger.db.lock'}: {os.strerror(number)}. {remedy}")


def test_what_is_no_error_of_the_system_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), usable(Path("x")):
        raise ZeroDivisionError


def test_the_reserve(tmp_path: Path) -> None:
    enough_disk(tmp_path / "to" / "be", 0)
    with pytest.raises(LineStop) as found:
        enough_disk(tmp_path / "to" / "be", 10**12)
    assert isinstance(found.value, Fault)
    assert str(tmp_path / "to" / "be") in found.value.detail
