"""The registry with its real signer: two programs started by their command lines, SoftHSM behind the one."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from station.cloud import CloudUnreachableError
from station.cloud.http import HttpCloud
from tests import warm
from tests.registry.access import access_of
from tests.registry.make import Device, World, world
from tests.registry.running import REPOSITORY
from trust import root_file as roots
from trust.statement import Receipt, verify


def run(*argv: str) -> None:
    warm.run([sys.executable, "-m", *argv], cwd=REPOSITORY, check=True, timeout=15)


@contextmanager
def program(*argv: str) -> Iterator[str]:
    """A program until the block ends; gives the line on which it said that it is ready."""
    process = warm.start([sys.executable, "-m", *argv], cwd=REPOSITORY, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("ready"):
                break
        else:
            raise AssertionError("".join(said))
        yield line
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


@dataclass(frozen=True, slots=True)
class Site:
    place: Path
    made: World

    def signer(self) -> tuple[str, ...]:
        return ("hsm", "serve", "--dir", str(self.place / "signer-cloud"), "--root", str(self.place / "root"))

    def registry(self) -> tuple[str, ...]:
        return (
            "registry",
            "serve",
            "--dir",
            str(self.place / "registry"),
            "--root",
            str(self.place / "root"),
            "--port",
            "0",
        )


@pytest.fixture(scope="module")
def site(worker_dir: Path) -> Site:
    place = Path(tempfile.mkdtemp(dir=worker_dir))
    names = ("--name", "registry-01", "--environment", "demo")
    run("hsm", "init", "--dir", str(place / "signer-cloud"), "--role", "cloud", *names)
    run("registry", "init", "--dir", str(place / "registry"), "--host", "localhost", *names)
    public = msgspec.json.decode((place / "signer-cloud" / "public.json").read_bytes(), type=dict[str, str])
    made = world(
        tls_root=ssl.PEM_cert_to_DER_cert((place / "registry" / "tls.crt").read_text()),
        receipt_spki=base64.b64decode(public["receipt"]),
    )
    (place / "root").write_bytes(roots.wrap(made.trusted.root).to_json())
    return Site(place, made)


@pytest.mark.timeout(60)  # starts the signer twice and the registry once
def test_receipts_come_from_the_token_and_survive_its_absence(site: Site) -> None:
    made, devices = site.made, [Device() for _ in range(12)]
    statements = [made.pin(each) for each in devices]

    async def act(url: str, signer: ExitStack) -> None:
        cloud = HttpCloud(url, made.trusted.root.tls_root, access=access_of(made))
        pins = await asyncio.gather(
            *(
                cloud.pin(d.device_id, s, made.order_envelope)
                for d, s in zip(devices[:-1], statements[:-1], strict=True)
            )
        )
        for pinned in pins:
            assert verify(pinned.receipt, Receipt, made.trusted.root.receipt_key).state == "provisional"
        done = await cloud.complete(devices[0].device_id, made.completion(devices[0], statements[0], pins[0].receipt))
        assert done.completion_receipt is not None
        assert verify(done.completion_receipt, Receipt, made.trusted.root.receipt_key).state == "active"
        signer.close()
        with pytest.raises(CloudUnreachableError, match="503 token-unavailable"):
            await cloud.pin(devices[-1].device_id, statements[-1], made.order_envelope)
        with program(*site.signer()):
            late = await cloud.pin(devices[-1].device_id, statements[-1], made.order_envelope)
            assert await cloud.history(devices[0].device_id) == done
        assert await cloud.history(devices[-1].device_id) == late  # stored: needs no signer any more
        await cloud.close()

    with ExitStack() as signer:
        signer.enter_context(program(*site.signer()))
        with program(*site.registry()) as line:
            found = re.search(r"port (\d+)", line)
            assert found
            asyncio.run(act(f"https://localhost:{found[1]}", signer))
