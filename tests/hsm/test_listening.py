"""The signer's socket: what is in its place and no such socket stays, and nobody's socket is taken from under them."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hsm import listening as place
from hsm.config import SetupError
from hsm.listening import listening
from tests import warm
from tests.hsm.conftest import make_signer_dir
from tests.hsm.test_service import public, refused, serving, write_root

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "signer.sock"


@contextmanager
def answering(path: Path) -> Iterator[None]:
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        other.listen()
        yield


def connects(path: Path) -> bool:
    with closing(socket.socket(socket.AF_UNIX)) as line:
        return line.connect_ex(str(path)) == 0


def named(directory: Path, where: Path | str) -> Path:
    """The signer with another `socket` in its settings."""
    file = directory / "signer.toml"
    file.write_text(file.read_text().replace('socket = "run/signer.sock"', f'socket = "{where}"'))
    return directory


def make_file(path: Path) -> None:
    path.write_text("somebody's")


def make_link(path: Path) -> None:
    path.symlink_to("elsewhere")


KINDS = [(make_file, "a file"), (Path.mkdir, "a directory"), (make_link, "a symbolic link"), (os.mkfifo, "a pipe")]


@pytest.mark.parametrize(("make", "said"), KINDS, ids=[said for _, said in KINDS])
def test_what_is_no_socket_stays_and_is_named(path: Path, make: object, said: str) -> None:
    assert callable(make)
    make(path)
    before = os.lstat(path)
    with pytest.raises(SetupError, match=f"is {said}, no socket: correct `socket`"), listening(path):
        pass
    assert os.lstat(path) == before


def test_a_start_that_unlinks_first_is_caught(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the start that there was before."""
    monkeypatch.setattr(place, "_clear", lambda path: path.unlink(missing_ok=True))
    make_file(path)
    with listening(path):
        assert not path.is_file()


def test_a_socket_that_a_crash_has_left_is_replaced(path: Path) -> None:
    with answering(path):
        pass
    assert path.is_socket() and not connects(path)
    with listening(path):
        assert connects(path)
    assert not path.exists()


def test_a_socket_on_which_somebody_answers_stays(path: Path) -> None:
    with answering(path):
        with pytest.raises(SetupError, match="somebody answers"), listening(path):
            pass
        assert connects(path)


def test_of_two_that_start_at_once_one_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one has bound its socket and does not listen yet: asking alone finds nobody."""
    with listening(path):
        monkeypatch.setattr(place, "_clear", lambda path: path.unlink(missing_ok=True))
        with pytest.raises(SetupError, match="somebody answers"), listening(path):
            pass
        assert connects(path)


def test_only_the_own_socket_goes_at_the_end(path: Path) -> None:
    with listening(path):
        path.unlink()
        another = answering(path)
        another.__enter__()
    assert connects(path)
    another.__exit__(None, None, None)


# ---- the signer's own process


def test_the_counters_survive_a_socket_of_their_name(new_factory_dir: Path, short_dir: Path) -> None:
    root = short_dir / "root.json"
    write_root(root, public(new_factory_dir))
    counters = new_factory_dir / "counters.db"
    said = refused(named(new_factory_dir, "counters.db"), root)
    assert "is one of the signer's own files" in said and "run/signer.sock" in said
    with closing(sqlite3.connect(counters)) as memory:
        assert memory.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize(
    "where", ["signer.toml", "public.json", "counters.db-wal", "user-pin", "tokens/x", "run/../so-pin"]
)
def test_no_file_of_the_directory_is_named_as_socket(short_dir: Path, where: str) -> None:
    words = ["init", "--dir", str(short_dir / "f"), "--role", "factory", "--name", "st-01", "--socket", where]
    done = warm.run([sys.executable, "-m", "hsm", *words], timeout=30)
    assert (done.returncode, "one of the signer's own files" in done.stderr) == (2, True), done.stderr
    assert not (short_dir / "f").exists()


def test_another_file_in_the_sockets_place_is_refused(new_factory_dir: Path, short_dir: Path) -> None:
    root, mine = short_dir / "root.json", new_factory_dir / "run" / "notes"
    write_root(root, public(new_factory_dir))
    make_file(mine)
    assert "is a file, no socket" in refused(named(new_factory_dir, "run/notes"), root)
    assert mine.read_text() == "somebody's"


def test_a_second_signer_on_the_first_ones_socket_harms_it_nothing(new_factory_dir: Path, short_dir: Path) -> None:
    other = make_signer_dir(short_dir / "other", "factory", "st-01")
    first, second = short_dir / "root.json", short_dir / "second.json"
    write_root(first, public(new_factory_dir))
    write_root(second, public(other))
    shared = new_factory_dir / "run" / "signer.sock"
    with serving(new_factory_dir, first):
        before = os.lstat(shared)
        assert "somebody answers on socket" in refused(named(other, shared), second)
        assert os.lstat(shared).st_ino == before.st_ino and connects(shared)
    assert not shared.exists()
