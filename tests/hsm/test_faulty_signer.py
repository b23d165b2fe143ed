"""A signer's process whose token misbehaves: its clients are answered in time, nothing is lost, every signature counted."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hsm.client import SignerClient
from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from hsm.token.softhsm import KNOWN_MODULES
from tests import warm
from tests.hsm.conftest import make_signer_dir
from tests.hsm.local_signer import Parties
from tests.hsm.shim.shim import Shim
from tests.hsm.shim.signer import Scene, start, surplus
from trust.codes import Code
from trust.dsse import Envelope
from trust.merkle import EMPTY_ROOT
from trust.signed_note import Head

pytestmark = pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2")
AUDIENCE = "https://registry.example"


@pytest.fixture
def scene(shimmed_dir: Path, shim: Shim, parties: Parties) -> Scene:
    return Scene.of(shimmed_dir, shim, parties)


def with_client(scene: Scene, work: Callable[[SignerClient], Awaitable[Any]], fault: str = "") -> Any:
    async def main() -> Any:
        client = await scene.begun()
        try:
            return await work(client)
        finally:
            await client.close()

    with scene.serving(fault):
        return asyncio.run(main())


async def each_purpose(scene: Scene, client: SignerClient, **fault: Any) -> SignerStatus:
    """One statement, one client assertion and one checkpoint, each meeting this fault."""
    shim, pin = scene.shim, await scene.pin(client)
    head = Head(origin=scene.floor.trusted.root.log_origin("st-01"), size=0, root_hash=EMPTY_ROOT, old_size=0, proof=())
    for ask in (
        lambda: client.sign_pin(pin),
        lambda: client.client_assertion(AUDIENCE),
        lambda: client.sign_checkpoint(head),
    ):
        shim.next("C_Sign", **fault)
        first = await ask()
        assert isinstance(first, Envelope | str)
    assert isinstance(await client.sign_pin(pin), Envelope)
    return await client.status()


@pytest.mark.parametrize("rv", ["DEVICE_ERROR", "SESSION_HANDLE_INVALID", "DEVICE_MEMORY"])
def test_a_signature_whose_answer_was_lost_is_counted_and_made_again(scene: Scene, rv: str) -> None:
    status = with_client(scene, lambda client: each_purpose(scene, client, rv=rv, when="after"))
    assert (status.resigned, scene.shim.signatures) == (3, 6)
    assert surplus(scene.shim, status) == 0


def test_a_signature_that_was_not_made_costs_one_count_more(scene: Scene) -> None:
    status = with_client(scene, lambda client: each_purpose(scene, client, rv="DEVICE_ERROR", when="before"))
    assert (status.resigned, scene.shim.signatures) == (3, 3)


def test_sessions_that_are_dropped_in_a_signature_lose_nothing(scene: Scene) -> None:
    status = with_client(scene, lambda client: each_purpose(scene, client, drops=True, when="before"))
    assert surplus(scene.shim, status) == status.resigned == 3


def test_a_signer_that_makes_a_signature_again_uncounted_is_caught(scene: Scene) -> None:
    """Negative control: the token's own count is above the signer's."""
    fault = "from hsm.counters import Counters; Counters.count_again = lambda *_: None"
    status = with_client(scene, lambda client: each_purpose(scene, client, rv="DEVICE_ERROR", when="after"), fault)
    assert surplus(scene.shim, status) < 0


def test_a_token_that_hangs_keeps_nobody_waiting_for_ever(scene: Scene) -> None:
    async def work(client: SignerClient) -> None:
        pin = await scene.pin(client)
        scene.shim.delay("C_Sign", 10_000)
        begun = time.monotonic()
        asked = asyncio.create_task(client.sign_pin(pin))
        await asyncio.sleep(1.5)
        status = await client.status()
        assert time.monotonic() - begun < 6, "status waits for nobody: the token hangs for 10 s"
        assert "has not answered since 20" in status.trouble
        assert status.keys.keys() == {"account", "client", "completion", "log", "pin"}
        with pytest.raises(SignerUnavailableError, match="token or disk"):
            await asked
        assert 7 < time.monotonic() - begun < 10, "given up before the token answers"
        await asyncio.sleep(2.5)
        assert isinstance(await client.sign_pin(pin), Envelope)
        status = await client.status()
        assert (status.trouble, status.resigned, scene.shim.made["pin"]) == ("", 0, 1)

    with_client(scene, work)


def test_a_token_that_never_comes_back_does_not_keep_its_signer_from_ending(scene: Scene) -> None:
    async def ask() -> None:
        client = await scene.begun()
        pin = await scene.pin(client)
        scene.shim.delay("C_Sign", 60_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.sign_pin(pin)
        await client.close()

    process = start(scene.directory, scene.root, scene.shim)
    asyncio.run(ask())
    process.terminate()
    _, logged = process.communicate(timeout=15)
    assert process.returncode == 6, logged
    assert "does not come back" in logged
    with scene.serving():
        status = asyncio.run(scene.client().status())
        assert surplus(scene.shim, status) == 1, "reserved, and not made"


def test_a_slow_token_is_waited_for(scene: Scene) -> None:
    async def work(client: SignerClient) -> SignerStatus:
        pin = await scene.pin(client)
        scene.shim.delay("C_Sign", 5000)
        assert isinstance(await client.sign_pin(pin), Envelope)
        return await client.status()

    assert surplus(scene.shim, with_client(scene, work)) == 0


def test_a_token_that_was_removed_is_told_and_used_again(scene: Scene) -> None:
    async def work(client: SignerClient) -> None:
        pin = await scene.pin(client)
        scene.shim.next("C_Sign", rv="DEVICE_REMOVED", removes=True)
        for _ in range(3):
            with pytest.raises(SignerUnavailableError):
                await client.sign_pin(pin)
        assert "is away" in (await client.status()).trouble
        scene.shim.put_back()
        assert isinstance(await client.sign_pin(pin), Envelope)
        status = await client.status()
        assert status.trouble == ""
        assert surplus(scene.shim, status) >= 0

    with_client(scene, work)


def test_a_pin_that_became_wrong_stops_everything_and_is_given_once(scene: Scene) -> None:
    async def work(client: SignerClient) -> None:
        pin = await scene.pin(client)
        before = scene.shim.logins
        scene.shim.next("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
        scene.shim.next("C_Login", rv="PIN_INCORRECT", times=1000)
        for _ in range(5):
            with pytest.raises(SignerError, match=r"retry-pin|correct user_pin") as told:
                await client.sign_pin(pin)
            assert told.value.code is Code.TOKEN_PIN_WRONG
        assert scene.shim.logins - before == 1
        assert "correct user_pin" in (await client.status()).trouble

    with_client(scene, work)


# ---- what keeps a signer from starting


def refused(scene: Scene) -> str:
    command = [sys.executable, "-m", "hsm", "serve", "--dir", str(scene.directory), "--root", str(scene.root)]
    done = warm.run(command, timeout=15, env=scene.shim.environment)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    return done.stderr


def test_a_restart_loop_gives_a_wrong_pin_once(scene: Scene) -> None:
    right = (scene.directory / "user-pin").read_text()
    (scene.directory / "user-pin").write_text("0000-wrong\n")
    told = [refused(scene) for _ in range(4)]
    assert scene.shim.logins == scene.shim.refused == 1
    assert all("user PIN of token 'st-01'" in each and "0000" not in each for each in told)
    (scene.directory / "user-pin").write_text(right)
    with scene.serving():
        assert scene.shim.logins == 2


def test_no_module_no_start(scene: Scene) -> None:
    made = scene.directory / "signer.toml"
    text = made.read_text()
    made.write_text(text.replace(str(scene.shim.module), "/nowhere/module.so"))
    assert "correct --module" in refused(scene)
    made.write_text(text.replace(str(scene.shim.module), str(made)))
    assert "does not load" in refused(scene)


def test_no_token_no_start(scene: Scene) -> None:
    scene.shim.remove()
    assert "is away (NoSuchToken" in refused(scene)
    assert scene.shim.logins == 0


# ---- two signers, one SoftHSM directory

_NO_LOCK = "import contextlib, hsm.token.pkcs11.login as login; login.locked = lambda _: contextlib.nullcontext()"


def together(first: Path, second: Path) -> None:
    """The second signer's token moves into the first one's directory."""
    for each in (second / "tokens").iterdir():
        shutil.move(each, first / "tokens")
    conf = second / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(second / "tokens"), str(first / "tokens")))


async def log_in_again_and_again(scenes: list[Scene], times: int) -> int:
    """Each signature needs a login; how many requests failed."""

    async def ask(scene: Scene) -> int:
        client, failed = scene.client(), 0
        for _ in range(times):
            scene.shim.next("C_SignInit", rv="SESSION_HANDLE_INVALID", drops=True)
            try:
                await client.client_assertion(AUDIENCE)
            except SignerUnavailableError:
                failed += 1
        await client.close()
        return failed

    return sum(await asyncio.gather(*(ask(scene) for scene in scenes)))


def two_signers(scene: Scene, parties: Parties, short_dir: Path, fault: str, times: int) -> int:
    other_dir = make_signer_dir(short_dir / "other", "factory", "st-02")
    other_shim = Shim.over(scene.shim.module, short_dir / "other.control")
    other_shim.serve_by(other_dir)
    together(scene.directory, other_dir)
    other = Scene.of(other_dir, other_shim, parties, station="st-02")
    with scene.serving(fault), other.serving(fault):
        return asyncio.run(log_in_again_and_again([scene, other], times))


def test_two_signers_with_their_tokens_in_one_directory_do_not_harm_each_other(
    scene: Scene, parties: Parties, short_dir: Path
) -> None:
    fault = "import hsm.token.pkcs11.session as session; session._PAUSES_S = (0.0,)"  # the lost session's own
    assert two_signers(scene, parties, short_dir, fault, 100) == 0


def test_two_signers_without_a_common_lock_do_harm_each_other(scene: Scene, parties: Parties, short_dir: Path) -> None:
    """Negative control."""
    fault = f"import hsm.token.pkcs11.session as session; session._PAUSES_S = (0.0,); {_NO_LOCK}"
    assert two_signers(scene, parties, short_dir, fault, 300) > 0
