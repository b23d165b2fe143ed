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
from station.disk import enough_disk, free_at, require_writable, usable
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
    assert "A file stands where a directory must be: move it; begin no other ledger elsewhere" in told


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


def unwritable(database: Path) -> str:
    with pytest.raises(SetupError) as found:
        require_writable(database)
    return found.value.detail


@pytest.mark.parametrize("below", ["ledger.db", "not/there/ledger.db"])
def test_a_ledger_that_may_be_written_and_nothing_is_left_behind(tmp_path: Path, below: str) -> None:
    require_writable(tmp_path / below)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db.lock"])
def test_a_ledger_that_this_user_may_not_write(tmp_path: Path, name: str) -> None:
    place = Path(tempfile.mkdtemp(prefix="ks-"))
    place.chmod(0o777)
    try:
        (place / name).touch()
        (place / name).chmod(0o444)
        with not_root():
            told = unwritable(place / "ledger.db")
        assert f"{place / name}: may not be written by user " in told
        assert "Let the station's user read and write there" in told
        assert "state" not in told, "a ledger elsewhere is what the signer refuses"
    finally:
        shutil.rmtree(place)


def test_a_directory_in_which_nothing_may_be_made(closed: Path) -> None:
    with not_root():
        told = unwritable(closed / "ledger.db")
    assert told.startswith(f"{closed}: Permission denied (user ")


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert "No space left on device" in unwritable(tmp_path / "ledger.db")


def test_a_directory_in_the_ledgers_place(tmp_path: Path) -> None:
    told = unwritable(tmp_path)
    assert told.startswith(f"{tmp_path}: a directory, where `database` must name the ledger's file. Correct `database`")
