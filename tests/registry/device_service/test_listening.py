"""The relay's socket file: whose it may be, what is never removed, and what is said of a path that is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry.device_service.field.ports import bound
from registry.device_service.relay import listening as module
from registry.device_service.relay.listening import listening
from registry.settings import DevicesConfig, Home, SetupError


@pytest.fixture
def run(short_dir: Path) -> Path:
    made = short_dir / "run"
    made.mkdir(0o750)
    return made


@contextmanager
def foreign(path: Path) -> Iterator[socket.socket]:
    """A daemon that knows nothing of our locks."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        yield daemon


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(str(path))
        except OSError:
            return False
    return True


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def refused(path: Path) -> str:
    with pytest.raises(SetupError) as found, listening(path):
        pass
    return str(found.value)


def test_a_living_programs_socket_stays_with_it_and_nothing_is_left_beside_it(run: Path) -> None:
    with foreign(run / "daemon.sock"):
        assert "another program holds the socket" in refused(run / "daemon.sock")
        assert answers(run / "daemon.sock") and names(run) == ["daemon.sock"]


def test_control_who_asks_nobody_takes_it_away(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_left", module._is_there)
    with foreign(run / "daemon.sock"):
        with listening(run / "daemon.sock"):
            pass
        assert not answers(run / "daemon.sock")


def test_our_own_kind_is_known_without_its_lock_too(run: Path) -> None:
    path = run / "devices.sock"
    with listening(path):
        assert "another program holds" in refused(path)
        (run / "devices.sock.lock").unlink()  # as somebody who tidies up
        assert "another program holds" in refused(path)
        assert answers(path)


def test_who_has_the_lock_and_does_not_answer_yet_is_not_disturbed(run: Path) -> None:
    """As a signer that starts, whose socket the settings name by mistake."""
    with module._alone(run / "signer.sock"):
        assert "another program holds" in refused(run / "signer.sock")


def test_what_a_crash_has_left_goes_and_what_came_since_stays(run: Path) -> None:
    path = run / "devices.sock"
    with foreign(path):
        pass  # its file stays, as after a crash
    with listening(path):
        assert answers(path)
        path.unlink()
        with foreign(path):
            pass
    assert path.is_socket(), "another one's, and not ours to remove"


def test_a_wrong_path_leaves_nothing_behind(run: Path) -> None:
    (run / "registry.db").write_bytes(b"mine")
    assert "nothing was removed" in refused(run / "registry.db")
    assert "correct relay_socket" in refused(run / "registry.db" / "devices.sock")
    assert names(run) == ["registry.db"] and (run / "registry.db").read_bytes() == b"mine"


# ---- the public ports


def loaded(directory: Path, devices: str) -> DevicesConfig:
    (directory / "registry.toml").write_text(f'name = "r"\nenvironment = "demo"\n\n[devices]\n{devices}\n')
    return Home.load(directory).config.devices


@pytest.mark.parametrize("wrong", ["127.0.0.1:99999", "127.0.0.1:65536", "127.0.0.1", "5684", ":5684", "here:", "h:-1"])
@pytest.mark.parametrize("name", ["tcp", "udp"])
def test_an_address_is_host_and_port_or_it_is_said(tmp_path: Path, name: str, wrong: str) -> None:
    with pytest.raises(SetupError, match=f"{name} = '{wrong}': give HOST:PORT, the port from 0 to 65535"):
        loaded(tmp_path, f'{name} = "{wrong}"')


@pytest.mark.parametrize("right", ["", "0.0.0.0:5684", "[::]:0", "localhost:65535"])
def test_addresses_as_they_ought_to_be_are_taken(tmp_path: Path, right: str) -> None:
    assert loaded(tmp_path, f'udp = "{right}"').udp == right


def test_no_port_is_ever_another_one() -> None:
    """The system's own look-up takes a port that is too large modulo 65,536."""
    with pytest.raises(SetupError, match="no address"):
        bound("127.0.0.1:99999", socket.SOCK_DGRAM)
