"""A real signer on SoftHSM is killed again and again under load (SIGKILL): nothing acknowledged is lost or made twice."""

from __future__ import annotations

import asyncio
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from hsm.client import SignerClient
from hsm.signer import SignerStatus, SignerUnavailableError
from tests import warm
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from tests.hsm.test_service import await_ready, public, serve_command, write_root
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.statement import PinStatement, envelope, verify

CLIENTS, EACH, KILLS = 8, 40, 4


def start(directory: Path, root: Path, fault: str) -> warm.Running | subprocess.Popen[str]:
    command = serve_command(directory, root)
    if fault:
        command[1:3] = ["-c", f"{fault}; from hsm.cli import main; main()"]
    process = warm.start(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    await_ready(process.stderr)
    return process


def end(process: warm.Running | subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(5)
    assert process.stderr is not None
    process.stderr.close()


async def insist(client: SignerClient, pins: list[PinStatement], heard: dict[str, set[bytes]]) -> None:
    """Ask for each statement until it is answered, then once more; what was heard is kept by job."""
    for pin in [each for each in pins for _ in range(2)]:
        while True:
            with suppress(SignerUnavailableError):
                heard.setdefault(pin.job, set()).add((await client.sign_pin(pin)).to_json())
                break
            await asyncio.sleep(0.02)


async def storm(directory: Path, root: Path, floor: Floor, fault: str) -> tuple[dict[str, set[bytes]], SignerStatus]:
    process = start(directory, root, fault)
    socket = directory / "run" / "signer.sock"
    first = SignerClient(socket)
    await first.import_order(envelope(floor.order))
    devices = [Device() for _ in range(CLIENTS * EACH)]
    pins = [floor.pin(each, await first.challenge(floor.challenge_request(each))) for each in devices]
    heard: dict[str, set[bytes]] = {}
    clients = [SignerClient(socket) for _ in range(CLIENTS)]
    # Neighbours' first statements are asked for by two clients at once.
    shares = [pins[number * EACH : (number + 1) * EACH + 5] for number in range(CLIENTS)]
    asking = [asyncio.create_task(insist(*each, heard)) for each in zip(clients, shares, strict=True)]
    chance = random.Random(7)
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.02, 0.12))
        end(process)
        process = start(directory, root, fault)
    await asyncio.gather(*asking)
    status = await first.status()
    for client in (*clients, first):
        await client.close()
    end(process)
    return heard, status


def hold_its_word(parties: Parties, new_factory_dir: Path, short_dir: Path, fault: str = "") -> None:
    keys, root = public(new_factory_dir), short_dir / "root.json"
    trusted = write_root(root, keys)
    floor = Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)
    floor.trusted, floor.order = trusted, make_order(trusted, quantity=CLIENTS * EACH, allowance=0)
    heard, status = asyncio.run(storm(new_factory_dir, root, floor, fault))
    assert len(heard) == CLIENTS * EACH
    assert {len(each) for each in heard.values()} == {1}, "one statement was answered with two signatures"
    assert status.signatures["pin"] == CLIENTS * EACH, "each payload is counted once, however often it was asked for"
    key = PublicKey.from_der(keys["pin"])
    for (data,) in heard.values():
        verify(Envelope.from_json(data), PinStatement, key)


@pytest.mark.timeout(60)  # five starts of a signer
def test_a_signer_that_is_killed_under_load_keeps_its_word(
    parties: Parties, new_factory_dir: Path, short_dir: Path
) -> None:
    hold_its_word(parties, new_factory_dir, short_dir)


@pytest.mark.timeout(60)
def test_a_signer_that_answers_without_storing_is_caught(
    parties: Parties, new_factory_dir: Path, short_dir: Path
) -> None:
    """Negative control."""
    fault = "from hsm.counters import Counters; Counters.store_envelope = lambda self, payload_sha256, made: made"
    with pytest.raises(AssertionError, match="two signatures"):
        hold_its_word(parties, new_factory_dir, short_dir, fault)
