"""Registry and device service have one cloud signer: each of them, taken over, asks it for nothing that is the other's.

A real signer as a user of its own, and two more users, whose processes ask by hand. The control: one list for both.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm import config, verbs
from hsm.client import HandshakeClient
from hsm.config import SetupError, SignerConfig
from hsm.peers import HANDSHAKES, Peers
from hsm.signer import SignerError
from registry.device_service.running import require_handshakes
from registry.settings import SetupError as RegistrySetupError
from tests.hsm import own_users
from tests.hsm.floor import ec_key
from tests.hsm.floor import public as public_key
from tests.hsm.local_signer import make_registry, make_root
from tests.hsm.own_users import IN_GROUP, SIGNER, STATION, STRANGER
from tests.hsm.served import served
from tests.hsm.software_token import SoftwareToken
from tests.hsm.test_service import public, write_root
from trust.codes import Code
from trust.handshake import HandshakeReport
from trust.keys import PublicKey
from trust.root import CloudKeys, RegistryKeys, TrustedRoot
from trust.statement import Receipt

REGISTRY, DEVICES = STATION, IN_GROUP  # both in the signer's group: its list of users decides
REST = set(verbs._CLOUD) - HANDSHAKES - {verbs.STATUS}
CLOUD = SignerConfig(role="cloud", name="reg-01", environment="demo", token_label="reg-01", module="m")
ASK = """
import json, socket, struct, sys
line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1]); line.settimeout(10)
file, out = line.makefile("rb"), {}
for name, verb, body in json.loads(sys.argv[2]):
    data = json.dumps({"v": 1, "verb": verb, "id": 1, "body": body}).encode()
    line.sendall(struct.pack(">I", len(data)) + data)
    (size,) = struct.unpack(">I", file.read(4))
    answer = json.loads(file.read(size))
    out[name] = answer["error"]["code"] + ": " + answer["error"]["message"] if "error" in answer else "done"
print(json.dumps(out))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may pass, on a path short enough for a socket."""
    own_users.require_users()
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def made_cloud(directory: Path, **lists: list[int]) -> tuple[Path, TrustedRoot]:
    """A cloud signer with these lists in its settings, and its root."""
    directory.mkdir()
    os.chown(directory, SIGNER.uid, SIGNER.gid)
    command = [sys.executable, "-m", "hsm", "init", "--dir", directory, "--role", "cloud", "--name", "reg-01"]
    done = SIGNER.run(command)
    assert done.returncode == 0, done.stderr
    toml = directory / "signer.toml"
    lines = [each for each in toml.read_text().splitlines() if not each.startswith("allowed_uids")]
    toml.write_text("\n".join([*lines, *(f"{name} = {uids}" for name, uids in lists.items()), ""]))
    keys, root = public(directory), directory.with_name("root.json")
    station = {name: public_key(ec_key()).spki for name in ("pin", "completion", "log", "client", "account")}
    cloud_keys = CloudKeys(handshake=keys["handshake"])
    trusted = write_root(
        root, station, keys["receipt"], registry_keys=RegistryKeys(receipt=keys["receipt"]), cloud_keys=cloud_keys
    )
    root.chmod(0o644)
    return directory, trusted


def asked(user: own_users.User, directory: Path, requests: list[tuple[str, str, Any]]) -> dict[str, str]:
    """What this user's process hears, by name of the request."""
    done = user.run([sys.executable, "-c", ASK, directory / "run" / "signer.sock", json.dumps(requests)])
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def some(many: int) -> str:
    return base64.b64encode(b"\1" * many).decode()


def requests(directory: Path, trusted: TrustedRoot) -> list[tuple[str, str, Any]]:
    """One of each verb: a report, signatures and a receipt in full, of the rest no more than the verb."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unit = {"order_id": "order-1", "job": "5a" * 16, "device_id": "a1" * 12, "fingerprint": "01" * 32}
    where: dict[str, str] = {"environment": "demo", "root_sha256": trusted.sha256, "registry": "reg-01"}
    report = HandshakeReport(
        **where, **unit, station="st-01", protocol="tcp", suite="RSA_PKCS1_WITH_AES_128_CBC", transcript_sha256="ab" * 32,
        cloud_fingerprint=PublicKey.from_der(public(directory)["cloud-tcp"]).fingerprint, at=now,
    )  # fmt: skip
    receipt = Receipt(
        **where, **unit, subject="pin", statement_sha256="cd" * 32, state="provisional", registered_at=now
    )
    full = {
        "sign_handshake": {"report": msgspec.to_builtins(report)}, "tcp_sign": {"mac": some(20)},
        "dtls_sign": {"digest": some(32)}, "tcp_open": {"ciphertext": some(256), "nonce": some(40)},
        "sign_receipt": {"receipt": msgspec.to_builtins(receipt)}, "status": {},
    }  # fmt: skip
    named = [(name, name, full.get(name, {})) for name in sorted(HANDSHAKES | REST | {verbs.STATUS})]
    return [*named, ("no verb", "sign_anything", {})]


def outcomes(heard: dict[str, str]) -> tuple[set[str], set[str]]:
    """Verbs that were refused as the other one's, and those that did something."""
    refused = {name for name, each in heard.items() if each.startswith("not-authorised: user id")}
    return refused, {name for name, each in heard.items() if each == "done"}


def test_neither_service_gets_what_is_the_others(place: Path) -> None:
    directory, trusted = made_cloud(place / "signer", allowed_uids=[REGISTRY.uid], device_service_uids=[DEVICES.uid])
    wanted = requests(directory, trusted)
    with own_users.serving(directory):
        registry, devices = asked(REGISTRY, directory, wanted), asked(DEVICES, directory, wanted)
        own = asked(SIGNER, directory, wanted)
        stranger = STRANGER.run([sys.executable, "-c", ASK, directory / "run" / "signer.sock", "[]"])
    assert outcomes(registry) == (set(HANDSHAKES), {"status", "sign_receipt"})
    assert outcomes(devices) == (REST | {"no verb"}, {"status", "sign_handshake", "tcp_sign", "dtls_sign"})
    assert devices["tcp_open"].startswith("handshake-refused")
    assert "name it in device_service_uids of the signer's signer.toml" in registry["sign_handshake"]
    assert "name it in allowed_uids of the signer's signer.toml" in devices["sign_receipt"]
    assert outcomes(own)[0] == set()
    assert "Permission denied" in stranger.stderr


def test_control_with_one_list_either_is_the_other(place: Path) -> None:
    """What a signer did before the second list, and does where it is left out: SQLite has one user for both."""
    directory, trusted = made_cloud(place / "signer", allowed_uids=[REGISTRY.uid, DEVICES.uid])
    wanted = requests(directory, trusted)
    with own_users.serving(directory):
        for user in (REGISTRY, DEVICES):
            refused, done = outcomes(asked(user, directory, wanted))
            assert not refused
            assert done >= {"sign_handshake", "tcp_sign", "dtls_sign", "sign_receipt"}


def test_an_empty_list_lets_nobody_but_the_signers_own_user_handshake() -> None:
    settings = msgspec.structs.replace(CLOUD, allowed_uids=(7,), device_service_uids=())
    peers = Peers.of(settings, 5)
    assert (peers.rest, peers.handshakes) == ({5, 7}, {5})
    peers.require(5, "tcp_sign")
    with pytest.raises(SignerError) as caught:
        peers.require(7, "tcp_sign")
    assert caught.value.code is Code.NOT_AUTHORISED


def test_the_groups_are_verbs_of_the_cloud_and_of_no_station() -> None:
    assert set(verbs._CLOUD) > HANDSHAKES
    assert not HANDSHAKES & set(verbs._FACTORY)
    assert {
        "sign_receipt",
        "sign_receipts",
        "sign_lease",
        "sign_roster",
        "sign_revocation",
        "sign_authorisation",
    } == REST


def test_the_list_is_written_and_read_and_a_stations_signer_has_none(tmp_path: Path) -> None:
    for each in (None, (), (12, 13)):
        settings = msgspec.structs.replace(CLOUD, device_service_uids=each)
        (tmp_path / config.FILE).write_text(config.dump(settings))
        assert config.load(tmp_path) == settings
    (tmp_path / config.FILE).write_text(config.dump(msgspec.structs.replace(settings, role="factory")))
    with pytest.raises(SetupError, match="device_service_uids is for a cloud signer"):
        config.load(tmp_path)


@pytest.mark.parametrize("apart", [True, False])
def test_a_device_service_that_may_not_handshake_does_not_start(tmp_path: Path, short_dir: Path, apart: bool) -> None:
    """Every unit and device would find it unable, and each anew: whoever has set the lists hears it."""
    cloud, factory = SoftwareToken.make(tmp_path / "cloud", "cloud"), SoftwareToken.make(tmp_path / "st-01", "factory")
    made = make_registry(tmp_path, "reg-01", make_root({"st-01": factory}, "reg-01", cloud), cloud)
    path, own = short_dir / "signer.sock", os.geteuid()
    peers = Peers(frozenset({own}), frozenset({own + 1})) if apart else Peers.alike({own})

    def start() -> str:
        keys = HandshakeClient(path)
        try:
            require_handshakes(keys)
        except RegistrySetupError as error:
            return str(error)
        finally:
            keys.close()
        return ""

    async def main() -> str:
        async with served(made, path, peers):
            return await asyncio.to_thread(start)

    said = asyncio.run(main())
    assert ("name it in device_service_uids" in said) is apart
    assert bool(said) is apart
