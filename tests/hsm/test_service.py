"""`station-signer serve` and `status` as processes, with SoftHSM: what must hold before they start, and what they prove."""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from hsm.client import ReceiptClient, SignerClient
from tests import warm
from tests.hsm.conftest import make_signer_dir
from tests.hsm.floor import Device, Floor, ec_key, make_order
from tests.hsm.floor import public as public_key
from tests.hsm.local_signer import Parties
from trust import signed_note
from trust.dsse import Envelope
from trust.merkle import EMPTY_ROOT
from trust.root import RegistryKeys, Root, StationKeys, TrustedRoot
from trust.root_file import parse, wrap
from trust.signed_note import Head
from trust.statement import envelope


def public(directory: Path) -> dict[str, bytes]:
    return {name: base64.b64decode(text) for name, text in json.loads((directory / "public.json").read_text()).items()}


# One for the session: a signer goes on with the root that it has once taken up.
RECEIPT_KEY = public_key(ec_key()).spki


def write_root(path: Path, factory: dict[str, bytes], receipt: bytes = RECEIPT_KEY, **changes: Any) -> TrustedRoot:
    values: dict[str, Any] = {
        "environment": "demo", "version": 1, "registry": "reg-01", "registry_url": "https://registry.example", "tls_root": b"",
        "stations": {"st-01": StationKeys(**factory)}, "registry_keys": RegistryKeys(receipt=receipt),
    }  # fmt: skip
    path.write_bytes(wrap(Root(**(values | changes))).to_json())
    return parse(path.read_bytes())


@pytest.fixture
def root_file(factory_dir: Path, short_dir: Path) -> Path:
    write_root(short_dir / "root.json", public(factory_dir))
    return short_dir / "root.json"


def serve_command(directory: Path, root: Path) -> list[str]:
    return [sys.executable, "-m", "hsm", "serve", "--dir", str(directory), "--root", str(root)]


def await_ready(said: IO[str]) -> str:
    """What it said before: a warning, where it may not lock its memory."""
    before: list[str] = []
    while not (line := said.readline()).startswith("ready: "):
        assert line, before
        before.append(line)
    return "".join(before)


@contextmanager
def serving(directory: Path, root: Path) -> Iterator[warm.Running | subprocess.Popen[str]]:
    process = warm.start(serve_command(directory, root), stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        await_ready(process.stderr)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, process.stderr.read()
        process.stderr.close()


def refused(directory: Path, root: Path) -> str:
    done = warm.run(serve_command(directory, root), timeout=15)
    assert done.returncode == 2, done.stderr
    assert "ready:" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_serve_status_and_a_clean_end(factory_dir: Path, root_file: Path) -> None:
    with serving(factory_dir, root_file) as process:
        command = [sys.executable, "-m", "hsm", "status", "--dir", str(factory_dir)]
        shown = warm.run(command, timeout=15, check=True).stdout
        assert "role         factory" in shown
        data = warm.run([*command, "--json"], timeout=15, check=True).stdout
        assert json.loads(data)["keys"].keys() == public(factory_dir).keys()
        for secret in ("user-pin", "so-pin"):
            pin = (factory_dir / secret).read_bytes().strip()
            assert pin not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            with suppress(PermissionError):  # closed to whoever is not almighty
                assert pin not in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert not (factory_dir / "run" / "signer.sock").exists()
    away = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert (away.returncode, away.stdout) == (6, "")


def test_a_killed_signer_starts_again_over_its_own_socket(factory_dir: Path, root_file: Path) -> None:
    process = subprocess.Popen(serve_command(factory_dir, root_file), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    await_ready(process.stderr)
    process.kill()
    process.wait(5)
    process.stderr.close()
    assert (factory_dir / "run" / "signer.sock").exists()
    with serving(factory_dir, root_file):
        assert asyncio.run(SignerClient(factory_dir / "run" / "signer.sock").status()).name == "st-01"


def test_one_process_a_directory(factory_dir: Path, root_file: Path) -> None:
    with serving(factory_dir, root_file):
        assert "another process serves" in refused(factory_dir, root_file)
        assert asyncio.run(SignerClient(factory_dir / "run" / "signer.sock").status()).name == "st-01"


def test_an_open_place_is_refused_with_the_command_that_closes_it(new_factory_dir: Path, root_file: Path) -> None:
    (new_factory_dir / "user-pin").chmod(0o640)
    assert f"chmod 0600 {new_factory_dir / 'user-pin'}" in refused(new_factory_dir, root_file)


def test_counters_that_are_missing_or_anothers_are_refused(
    new_factory_dir: Path, factory_dir: Path, short_dir: Path
) -> None:
    root = short_dir / "root.json"
    write_root(root, public(new_factory_dir))
    own = (new_factory_dir / "counters.db").read_bytes()
    (new_factory_dir / "counters.db").unlink()
    assert "never made anew" in refused(new_factory_dir, root)
    assert not (new_factory_dir / "counters.db").exists()
    (new_factory_dir / "counters.db").touch(0o600)
    (new_factory_dir / "counters.db").write_bytes((factory_dir / "counters.db").read_bytes())
    assert "use its own" in refused(new_factory_dir, root)
    (new_factory_dir / "counters.db").write_bytes(own)
    with serving(new_factory_dir, root):
        pass


def test_a_root_that_does_not_fit_is_refused(factory_dir: Path, short_dir: Path) -> None:
    keys, root = public(factory_dir), short_dir / "root.json"
    write_root(root, {**keys, "log": public_key(ec_key()).spki})
    assert "other keys than this token's for log" in refused(factory_dir, root)


def test_another_root_of_the_same_version_is_refused_once_one_was_taken_up(
    new_factory_dir: Path, short_dir: Path
) -> None:
    keys, root = public(new_factory_dir), short_dir / "root.json"
    write_root(root, keys)
    with serving(new_factory_dir, root):
        pass
    write_root(short_dir / "other.json", keys, public_key(ec_key()).spki)
    assert "is not the one" in refused(new_factory_dir, short_dir / "other.json")
    with serving(new_factory_dir, root):
        pass


def test_a_wrong_user_pin_stops_the_start(new_factory_dir: Path, short_dir: Path) -> None:
    write_root(short_dir / "root.json", public(new_factory_dir))
    (new_factory_dir / "user-pin").write_text("wrong-pin-0000\n")
    said = refused(new_factory_dir, short_dir / "root.json")
    assert "correct user_pin" in said
    assert "wrong-pin-0000" not in said


def test_a_directory_that_is_no_signer_is_refused(short_dir: Path) -> None:
    assert "station-signer init" in refused(short_dir / "nothing", short_dir / "root.json")


def openssl(key: bytes, signature: bytes, message: bytes, where: Path) -> bool:
    """Whether bare OpenSSL, which has seen none of our code, says that the signature holds."""
    (where / "key.pem").write_bytes(
        load_der_public_key(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (where / "sig").write_bytes(signature)
    (where / "message").write_bytes(message)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "sig", "message"]
    if len(key) < 60:  # Ed25519 signs the message itself
        command = [
            "openssl",
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-inkey",
            "key.pem",
            "-sigfile",
            "sig",
            "-in",
            "message",
        ]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is ("Verified OK" in done.stdout or "Signature Verified Successfully" in done.stdout)
    return done.returncode == 0


@pytest.mark.timeout(60)  # makes an RSA key in SoftHSM and starts six processes
def test_two_signers_provision_a_device_and_openssl_believes_each_signature(parties: Parties, short_dir: Path) -> None:
    factory_dir = make_signer_dir(short_dir / "f", "factory", "st-01")
    cloud_dir = make_signer_dir(short_dir / "c", "cloud", "reg-01")
    factory, cloud, root = public(factory_dir), public(cloud_dir), short_dir / "root.json"
    trusted = write_root(root, factory, cloud["receipt"])
    floor = Floor(parties.trusted, make_order(parties.trusted), parties.factory, parties.cloud)
    floor.trusted, floor.order = trusted, make_order(trusted)  # statements are made here, signed over there
    device = Device()

    async def provision() -> tuple[Envelope, Envelope, Envelope, str]:
        signer, registry = (
            SignerClient(factory_dir / "run" / "signer.sock"),
            ReceiptClient(cloud_dir / "run" / "signer.sock"),
        )
        await signer.import_order(envelope(floor.order))
        pin = await signer.sign_pin(floor.pin(device, await signer.challenge(floor.challenge_request(device))))
        receipt = registry.sign_receipt(floor.receipt(device, pin))
        closing = device.closing(floor.order, await signer.challenge(floor.challenge_request(device, "report")))
        done = await signer.sign_completion(floor.completion(device, pin, receipt, closing=closing), pin, receipt)
        note = await signer.sign_checkpoint(
            Head(origin="demo/st-01/log", size=0, root_hash=EMPTY_ROOT, old_size=0, proof=())
        )
        await signer.close()
        registry.close()
        return pin, receipt, done, note

    with serving(factory_dir, root), serving(cloud_dir, root):
        pin, receipt, done, note = asyncio.run(provision())
    for key, signed in [(factory["pin"], pin), (cloud["receipt"], receipt), (factory["completion"], done)]:
        signature = signed.signatures[0].sig
        assert openssl(key, signature, signed.pae, short_dir)
        assert not openssl(key, signature, signed.pae + b" ", short_dir)
        assert not openssl(factory["client"], signature, signed.pae, short_dir)
    text, _, line = note.rpartition("\n\n")
    signature = base64.b64decode(line.split(" ")[-1])[4:]
    assert openssl(factory["log"], signature, f"{text}\n".encode(), short_dir)
    assert not openssl(factory["log"], signature, text.encode(), short_dir)
    assert signed_note.verify(note, "demo/st-01/log", factory["log"]).size == 0


def test_help_is_fast_and_complete() -> None:
    """Processor time, not the clock: other tests share the cores."""
    used = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "hsm", "--help"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(used) < 0.3
    assert all(f"\n  {command}" in done.stdout for command in ("init", "serve", "status"))


@pytest.mark.parametrize("command", ["init", "serve", "status"])
def test_each_command_explains_itself_and_offers_no_pin(command: str) -> None:
    done = warm.run([sys.executable, "-m", "hsm", command, "--help"], check=True)
    options = [word for word in done.stdout.split() if word.startswith("--")]
    assert "--dir" in options
    assert {each for each in options if "pin" in each} <= {"--user-pin"}  # says where one is; a PIN itself is refused


@pytest.mark.parametrize("given", ["4711-secret", "env:SECRET_4711", "fd:3", "file:secret-4711", "file:"])
def test_a_pin_on_the_command_line_is_refused_and_not_repeated(short_dir: Path, given: str) -> None:
    command = [
        sys.executable,
        "-m",
        "hsm",
        "init",
        "--dir",
        str(short_dir / "new"),
        "--role",
        "factory",
        "--name",
        "st-01",
    ]
    command += ["--token", "t", "--user-pin", given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
    assert done.returncode == 2
    assert "file:/an/absolute/path" in done.stderr
    assert "4711" not in done.stderr + done.stdout
    assert not (short_dir / "new").exists()


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, hsm.cli; print([n for n in ('pkcs11', 'cryptography', 'msgspec', 'sqlite3', 'asyncio') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
