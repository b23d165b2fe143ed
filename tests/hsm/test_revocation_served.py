"""Scrap through real signers on SoftHSM: people approve with their key files, cloud signs, factory takes note."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsm.client import ReceiptClient, SignerClient
from hsm.signer import SignerError
from tests import warm
from tests.hsm.people_at_work import People, at_work
from trust.codes import Code
from trust.dsse import Envelope
from trust.revocation import Revocation, revoked
from trust.root_file import parse

DEVICE, KEY = "a1" * 12, "01" * 32


@contextmanager
def serving(people: People, which: str) -> Iterator[Path]:
    """The signer in that directory; its socket."""
    command = [sys.executable, "-m", "hsm", "serve", "--dir", which, "--root", "root.json"]
    with warm.start(command, cwd=people.place, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("ready"):
                break
        try:
            yield people.place / which / "run" / "signer.sock"
        finally:
            process.terminate()
            process.communicate(timeout=10)


def act(people: People, out: str, *who: str) -> Envelope:
    words = ["--root", "root.json", "--fingerprint", KEY, "--scrap", "--reason", "broken in the field", "--out", out]
    people.good("device", "new", DEVICE, *words)
    people.approve("device", out, *who)
    return Envelope.from_json((people.place / out).read_bytes().strip())


@pytest.mark.timeout(90)  # makes two signers and four people, and serves both signers
def test_scrap_from_two_people_to_a_station_that_signs_no_more(tmp_path: Path) -> None:
    people = at_work(tmp_path)
    people.make_root()
    people.order("order.json")
    people.approve("order", "order.json", "pia", "quinn")
    trusted = parse((tmp_path / "root.json").read_bytes())
    alone, both = act(people, "alone.act", "pia"), act(people, "both.act", "pia", "quinn")

    def wanted(by: Envelope) -> Revocation:
        return Revocation(
            environment="demo", root_sha256=trusted.sha256, registry="reg-01", order_id="lamps", job="5a" * 16,
            device_id=DEVICE, fingerprint=KEY, cause="scrapped", act_sha256=by.payload_sha256,
            reason="broken in the field", revoked_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        )  # fmt: skip

    with serving(people, "cloud") as socket:
        cloud = ReceiptClient(socket)
        with pytest.raises(SignerError) as caught:
            cloud.sign_revocation(wanted(alone), alone)
        assert caught.value.code is Code.ACT_NOT_APPROVED
        signed = cloud.sign_revocation(wanted(both), both)
        cloud.close()
    assert revoked(trusted, signed).device_id == DEVICE

    async def take(socket: Path) -> None:
        factory = SignerClient(socket)
        await factory.import_order(Envelope.from_json((tmp_path / "order.json").read_bytes().strip()))
        for _ in range(2):
            await factory.import_revocation(signed)
        await factory.close()

    with serving(people, "factory") as socket:
        asyncio.run(take(socket))
