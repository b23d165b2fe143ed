"""What `serve` says and refuses before it serves: an address stations would not come to, a second server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from registry.alone import alone
from registry.serving import no_relay, not_there
from registry.settings import Home, SetupError
from tests.registry.running import REPOSITORY, plant_at


@pytest.mark.parametrize(
    ("url", "host", "port", "told"),
    [
        ("https://localhost:8443", "127.0.0.1", 8443, ""),
        ("https://registry.example:8443", "0.0.0.0", 8443, ""),
        ("https://registry.example", "::", 443, ""),
        ("https://registry.example:8443", "0.0.0.0", 9443, "port 9443: see to --port"),
        ("https://registry.example", "0.0.0.0", 8443, "port 8443: see to --port"),
        ("https://registry.example:8443", "127.0.0.1", 8443, "127.0.0.1 only: see to --host"),
    ],
)
def test_stations_go_where_the_trust_root_says(url: str, host: str, port: int, told: str) -> None:
    warning = not_there(url, host, port)
    assert (told in warning) if told else warning == ""


def test_a_second_server_of_a_directory_is_refused(tmp_path: Path) -> None:
    """The first one goes on; and when it has ended, however it ended, the directory is free."""
    with plant_at(tmp_path) as plant:
        plant.start()
        home = Home.load(plant.directory)
        with pytest.raises(SetupError, match=r"another process serves .* stop that one first"), alone(home):
            pass
        argv = [sys.executable, "-m", "tests.registry.child", plant.directory, plant.root_file, plant.key_file, "0"]
        second = subprocess.run(
            [*map(str, argv)], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=20
        )
        assert second.returncode != 0 and "another process serves" in second.stderr, second.stderr
        assert plant.process is not None and plant.process.poll() is None
        assert plant.end() == 0
        with alone(home):
            pass


def test_a_warning_comes_after_ready(tmp_path: Path) -> None:
    with plant_at(tmp_path) as plant:
        plant.start()
        assert plant.end() == 0
        ready = next(number for number, line in enumerate(plant.said) if line.startswith("ready: "))
        assert plant.said[ready + 1].startswith("warning: stations go to https://localhost:8443, by the trust root, ")


def test_a_registry_that_is_told_of_no_device_service_says_so_at_its_start(tmp_path: Path) -> None:
    """Control: with the socket named nothing is said, whether or not anybody listens there."""
    with plant_at(tmp_path) as plant:
        assert no_relay(Home.load(plant.directory)) == ""
        settings = plant.directory / "registry.toml"
        text = settings.read_text()
        assert 'relay_socket = "run/devices.sock"' in text
        settings.write_text(text.replace('"run/devices.sock"', '""'))
        plant.start()
        assert plant.end() == 0
        (told,) = [line for line in plant.said if "relay_socket" in line]
        assert told.startswith("warning: relay_socket in ") and "pass WAIVED" in told


def test_registries_of_one_machine_share_a_relay_socket_by_its_whole_path(tmp_path: Path) -> None:
    with plant_at(tmp_path) as plant:
        settings = plant.directory / "registry.toml"
        shared = tmp_path / "elsewhere" / "devices.sock"
        settings.write_text(settings.read_text().replace('"run/devices.sock"', f'"{shared}"'))
        assert Home.load(plant.directory).relay_socket == shared
