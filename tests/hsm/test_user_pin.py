"""A user PIN comes from a closed place and shows itself nowhere."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hsm.token import user_pin
from hsm.token.user_pin import UserPin, UserPinError


def read_user_pin(source: str, directory: Path, *, environment: str = "demo") -> UserPin:
    return user_pin.read_user_pin(source, directory, environment=environment)


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "user-pin"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


def test_every_source(pin_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_user_pin("file:user-pin", tmp_path).reveal() == "hunter2"
    assert read_user_pin(f"file:{pin_file}", Path("/")).reveal() == "hunter2"
    monkeypatch.setenv("KS_PIN", "from env")
    assert read_user_pin("env:KS_PIN", tmp_path).reveal() == "from env"
    assert "KS_PIN" not in os.environ
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_user_pin("cred:user-pin", tmp_path).reveal() == "hunter2"
    reading, writing = os.pipe()
    os.write(writing, b"from fd\n")
    os.close(writing)
    assert read_user_pin(f"fd:{reading}", tmp_path).reveal() == "from fd"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_open_is_refused(pin_file: Path, tmp_path: Path, mode: int) -> None:
    pin_file.chmod(mode)
    with pytest.raises(UserPinError, match="0600"):
        read_user_pin("file:user-pin", tmp_path)


def test_a_link_is_refused(pin_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pin_file)
    with pytest.raises(UserPinError, match="symbolic link"):
        read_user_pin("file:link", tmp_path)


@pytest.mark.parametrize(
    "source", ["", "hunter2", "file:", "prompt:x", "env:NO_SUCH", "fd:x", "fd:99", "file:none", "cred:x"]
)
def test_a_source_that_gives_nothing_is_refused_without_saying_a_secret(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(UserPinError):
        read_user_pin(source, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 300, b"\xff\xfe"])
def test_a_file_without_a_usable_pin_is_refused(pin_file: Path, tmp_path: Path, content: bytes) -> None:
    pin_file.write_bytes(content)
    with pytest.raises(UserPinError):
        read_user_pin("file:user-pin", tmp_path)


def test_a_fifo_in_the_files_place_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "user-pin", 0o600)
    with pytest.raises(UserPinError, match="plain file"):
        read_user_pin("file:user-pin", tmp_path)


def test_the_environment_is_a_place_for_a_demos_pin_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KS_PIN", "hunter2")
    with pytest.raises(UserPinError, match=r"'demo' only, not in 'plant-a'.*use file:PATH or cred:NAME"):
        read_user_pin("env:KS_PIN", tmp_path, environment="plant-a")
    assert not caplog.records
    assert read_user_pin("env:KS_PIN", tmp_path, environment="demo").reveal() == "hunter2"
    assert "/proc/PID/environ" in caplog.text and "hunter2" not in caplog.text


def test_every_other_source_serves_every_environment(pin_file: Path, tmp_path: Path) -> None:
    assert read_user_pin("file:user-pin", tmp_path, environment="plant-a").reveal() == "hunter2"


def test_why_the_kernel_goes_on_showing_what_was_removed() -> None:
    """The fact behind the rule; if it ever fails, `env:` may be had again."""
    code = "import os; os.environ.pop('KS_PIN'); print('hunter2' in open('/proc/self/environ').read())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"KS_PIN": "hunter2"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_it_shows_itself_nowhere() -> None:
    pin = UserPin("hunter2")
    assert "hunter2" not in f"{pin!r} {pin!s} {[pin]}"
    for leak in (lambda: f"{pin}", lambda: pickle.dumps(pin), lambda: copy.copy(pin), lambda: copy.deepcopy(pin)):
        with pytest.raises(TypeError):
            leak()
