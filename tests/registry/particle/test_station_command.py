"""`station device propose` at a real registry process with its door open: the client against the door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.registry.make import ec_key, public
from tests.registry.particle.plant import DoorPlant, open_plant


@pytest.fixture
def door(tmp_path: Path) -> Iterator[DoorPlant]:
    with open_plant(tmp_path) as found:
        yield found


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    example = Path(__file__).parents[3] / "config.example.toml"
    path.write_text(example.read_text())
    return path


def test_a_key_is_proposed_read_back_and_nothing_is_left_behind(door: DoorPlant, config: Path, tmp_path: Path) -> None:
    who, new = door.person(), ec_key()
    pem = tmp_path / "new.pub.pem"
    pem.write_text(public(new).to_pem())
    said = f"{who.password}\n{who.code()}\n"
    done = door.station(config, str(pem), "--user", who.user_id, "--jsonl", said=said)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["state"], told["read_back"], told["fingerprint"]) == ("proposed", "same", public(new).fingerprint)
    assert (told["receipt"], told["completion"]) == (None, None)
    assert "no receipt, no completion" in told["without"]
    (proposal,) = door.proposals()
    assert (proposal.key, proposal.proposer) == (public(new), who.user_id)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".db"]
    assert who.password not in "".join(path.read_text(errors="replace") for path in left)
    again = door.station(config, str(pem), "--client", who.user_id, said="not its secret\n")
    assert (again.returncode, "invalid_client" in again.stderr) == (1, True)
    bad = door.station(config, str(pem), "--jsonl", said="not-a-token\n")
    assert bad.returncode == 1
    assert "refused: invalid_token" in bad.stderr


def test_what_cannot_be_sent_is_said_before_anything_is_asked(door: DoorPlant, config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "device.pem"
    secret.write_bytes(ec_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    done = door.station(config, str(secret), said="x\n")
    assert done.returncode == 2
    assert "this is a private key" in done.stderr
    assert door.proposals() == ()
