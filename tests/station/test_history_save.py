"""`device show --save`: files are new, or nothing is written over."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from station.faults import SetupError
from station.history import DeviceHistory, RegistryView
from tests.registry.make import public, signed, world
from trust.statement import Event


def history(name: str) -> DeviceHistory:
    key, made = ec.generate_private_key(ec.SECP256R1()), world()
    event = Event(
        environment="demo", root_sha256=made.trusted.sha256, station="station-01", kind="x", at="2026-01-31T12:00:00Z"
    )
    statement = (name, signed(event, key), public(key))
    view = RegistryView(state="not-pinned")
    return DeviceHistory(device_id="ab" * 12, known=True, registry=view, jobs=(), reworks=(), signed=(statement,))


def test_four_new_files(tmp_path: Path) -> None:
    written = history("main.pin").save(tmp_path / "new")
    assert sorted(path.name for path in written) == ["main.pin.json", "main.pin.pae", "main.pin.pem", "main.pin.sig"]
    assert all(path.stat().st_size for path in written)


@pytest.mark.parametrize("there", ["file", "link", "dangling"])
def test_what_is_there_stays_as_it_is(tmp_path: Path, there: str) -> None:
    place, victim = tmp_path / "main.pin.pae", tmp_path / "victim"
    victim.write_bytes(b"keep me")
    match there:
        case "file":
            place.write_bytes(b"keep me")
        case "link":
            place.symlink_to(victim)
        case _:
            place.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SetupError, match=r"main\.pin\.pae is there already"):
        history("main.pin").save(tmp_path)
    assert victim.read_bytes() == b"keep me"
    assert not (tmp_path / "nowhere").exists()
    assert there == "dangling" or place.read_bytes() == b"keep me"


def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(SetupError, match="no file name"):
        history("../out.pin").save(tmp_path / "in")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
