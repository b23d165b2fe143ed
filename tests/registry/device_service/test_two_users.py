"""Registry, device service and cloud signer as three users on PostgreSQL, as docs/deployment.md says it under Users."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.hsm import own_users
from tests.hsm.own_users import ENVIRONMENT, NOBODYS, SIGNER, User
from tests.registry.device_service.relayed import carried, report_in, udp_unit
from tests.registry.device_service.test_devices_real import Site, bench
from tests.registry.make import Device, ec_key, world
from tests.registry.postgres import Server
from trust import root_file as roots
from trust.handshake import reported
from trust.root import CloudKeys

REGISTRY = User(NOBODYS + 1, NOBODYS + 1, (SIGNER.gid, NOBODYS + 2))
DEVICES = User(NOBODYS + 2, NOBODYS + 2, (SIGNER.gid,))
pytestmark = pytest.mark.timeout(90)


@dataclass(frozen=True, slots=True)
class Plant:
    """Three directories of three users, and the relay's socket in a fourth."""

    site: Site

    def settings(self, path: str, entries: Mapping[str, str], more: str = "") -> None:
        toml = self.site.place / path
        lines = [each for each in toml.read_text().splitlines() if each.split(" = ")[0] not in entries]
        toml.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in entries.items()), more, ""]))

    def command(self, what: str) -> list[str | Path]:
        place, root = self.site.place, ("--root", self.site.place / "root")
        user, words = {
            "signer": (SIGNER, ("hsm", "serve", "--dir", place / "signer-cloud", *root)),
            "registry": (REGISTRY, ("registry", "serve", "--dir", place / "registry", *root, "--port", "0")),
            "devices": (DEVICES, ("registry", "devices", "--dir", place / "devices", *root)),
        }[what]
        return user.command([sys.executable, "-m", *words])

    @contextmanager
    def serving(self, what: str) -> Iterator[str]:
        """One of the three until the block ends; gives the line that says that it is ready, or all it said instead."""
        process = subprocess.Popen(self.command(what), cwd="/", env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if line.startswith("ready"):
                    break
            yield said[-1] if said and said[-1].startswith("ready") else "".join(said)
        finally:
            process.terminate()
            process.communicate(timeout=10)


def made(user: User, place: Path, *argv: str | Path) -> None:
    place.mkdir(mode=0o750)
    os.chown(place, user.uid, user.gid)
    if argv:
        done = user.run([sys.executable, "-m", argv[0], "init", "--dir", place, "--name", "registry-01",
                         "--environment", "demo", *argv[1:]])  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture
def plant(postgres: Server) -> Iterator[Plant]:
    own_users.require_users()
    name = postgres.migrated()
    postgres.directory.chmod(0o711)
    with tempfile.TemporaryDirectory(prefix="ks-") as found:
        place = Path(found)
        place.chmod(0o711)
        made(SIGNER, place / "signer-cloud", "hsm", "--role", "cloud")
        url = postgres.url(name, postgres.serving(name))
        made(REGISTRY, place / "registry", "registry", "--host", "localhost", "--database", url)
        made(DEVICES, place / "devices")
        made(DEVICES, place / "relay")
        public = msgspec.json.decode((place / "signer-cloud" / "public.json").read_bytes(), type=dict[str, str])
        keys = {name: base64.b64decode(each) for name, each in public.items()}
        of_all = world(
            tls_root=ssl.PEM_cert_to_DER_cert((place / "registry" / "tls.crt").read_text()),
            receipt_spki=keys["receipt"], cloud_keys=CloudKeys(handshake=keys["handshake"]),
        )  # fmt: skip
        (place / "root").write_bytes(roots.wrap(of_all.trusted.root).to_json())
        plant = Plant(Site(place, of_all, keys))
        sockets = {"signer_socket": f'"{place}/signer-cloud/run/signer.sock"'}
        sockets["relay_socket"] = f'"{place}/relay/devices.sock"'
        plant.settings("registry/registry.toml", sockets, f"[devices]\nrelay_uids = [{REGISTRY.uid}]")
        (place / "devices" / "registry.toml").write_text((place / "registry" / "registry.toml").read_text())
        yield plant


def lists(*registry: int, devices: tuple[int, ...]) -> dict[str, str]:
    return {"allowed_uids": str(list(registry)), "device_service_uids": str(list(devices))}


def test_a_unit_meets_the_cloud_by_a_service_with_a_user_of_its_own(plant: Plant) -> None:
    plant.settings("signer-cloud/signer.toml", lists(REGISTRY.uid, devices=(DEVICES.uid,)))
    made, device = plant.site.world("udp"), Device(key=ec_key())

    async def story(line: str) -> None:
        async with bench(plant.site, line) as at:
            await at.pinned(made, device)
            answers = await carried(at.post, device, "udp", udp_unit(device, plant.site.keys["cloud-udp"]))
        assert answers[-1]["state"] == "done", answers[-1]
        assert reported(made.trusted, report_in(answers[-1])).device_id == str(device.device_id)

    with ExitStack() as running:
        lines = [running.enter_context(plant.serving(each)) for each in ("signer", "devices", "registry")]
        assert all(each.startswith("ready") for each in lines), lines
        asyncio.run(story(lines[-1]))
        tls_key = plant.site.place / "registry" / "tls.key"
        assert "Permission denied" in DEVICES.run(["cat", tls_key]).stderr, "the registry's certificate is no way in"


def test_control_in_the_registrys_list_alone_it_does_not_start(plant: Plant) -> None:
    plant.settings("signer-cloud/signer.toml", lists(REGISTRY.uid, DEVICES.uid, devices=()))
    with plant.serving("signer"), plant.serving("devices") as said:
        assert "name it in device_service_uids of the signer's signer.toml" in said
