"""`station-signer init --token` on modules that refuse and report as vendors' descriptions say: the profiles keep to them.

An imitation by SoftHSM (imitated_module.c): it tries our side of what was read, and no module.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.token.softhsm import KNOWN_MODULES, find_module
from tests import warm
from tests.hsm.test_service import public, serve_command, serving, write_root

pytestmark = pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2")

SOURCE = Path(__file__).with_name("imitated_module.c")
LABELS = {"yubihsm2": "YubiHSM", "cloudhsm": "hsm1", "smartcard-hsm": "line-3 (UserPIN)"}
PINS = {"yubihsm2": "0005password", "cloudhsm": "signer:Password1", "smartcard-hsm": "648219"}
MAKE = """
import sys
from pathlib import Path
from hsm.token.softhsm import find_module
from hsm.token.user_pin import UserPin
from tests.hsm.module_trials import new_token
new_token(find_module(None), Path(sys.argv[1]), "line-3", keys=False, user_pin=UserPin(sys.argv[2]))
"""
PLANT = """
import sys
from pathlib import Path
import pkcs11
from hsm.token.softhsm import find_module
from tests.hsm.planted_keys import imported
with pkcs11.lib(str(find_module(None))).get_token(token_label="line-3").open(rw=True, user_pin=sys.argv[1]) as session:
    imported(session)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def imitated(worker_dir: Path) -> Path:
    """The module, built."""
    made = worker_dir / "imitated.so"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *flags, "-o", str(made), str(SOURCE), "-ldl"], check=True, timeout=15)
    return made


@pytest.fixture
def run(imitated: Path, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`init` on the module imitated, with a token that its administrator has made, and its PIN in a file."""
    (short_dir / "tokens").mkdir(mode=0o700)
    conf = short_dir / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {short_dir / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    monkeypatch.setenv("IMITATED_BY", str(find_module(None)))

    def init(name: str, *more: str, role: str = "factory", token: bool = True) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("IMITATED_AS", name)
        pin = short_dir / "pin"
        if not pin.exists():
            subprocess.run([sys.executable, "-c", MAKE, str(short_dir), PINS[name]], check=True, timeout=15)
            pin.write_text(PINS[name])
            pin.chmod(0o600)
        command = [
            sys.executable,
            "-m",
            "hsm",
            "init",
            "--dir",
            str(short_dir / "signer"),
            "--role",
            role,
            "--name",
            "st-01",
        ]
        command += [
            "--module",
            str(imitated),
            *(["--token", LABELS[name], "--user-pin", f"file:{pin}"] if token else []),
        ]
        return subprocess.run([*command, *more], capture_output=True, text=True, timeout=18, check=False)

    return init


def kinds(directory: Path) -> dict[str, str]:
    found = json.loads((directory / "public.json").read_text()).items()
    return {name: type(load_der_public_key(base64.b64decode(text))).__name__ for name, text in found}


@pytest.mark.parametrize(
    ("name", "options", "log"),
    [("yubihsm2", (), "Ed25519"), ("cloudhsm", ("--profile", "cloudhsm"), "EC"), ("smartcard-hsm", (), "EC")],
)
def test_keys_are_made_and_served(run: Run, short_dir: Path, name: str, options: tuple[str, ...], log: str) -> None:
    done = run(name, *options)
    assert done.returncode == 0, done.stderr
    assert f"module: {name} (profile from documentation, not tried with this module" in done.stderr
    assert log in kinds(short_dir / "signer")["log"]
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    with serving(short_dir / "signer", root):
        status = [sys.executable, "-m", "hsm", "status", "--dir", str(short_dir / "signer")]
        assert f"profile      {name} (" in warm.run(status, check=True).stdout


def test_a_cloud_signers_rsa_key_is_made_too(run: Run, short_dir: Path) -> None:
    done = run("yubihsm2", role="cloud")
    assert done.returncode == 0, done.stderr
    assert "RSA" in kinds(short_dir / "signer")["cloud-tcp"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("yubihsm2", ("--profile", "softhsm"), "token 'YubiHSM' refused"),
        ("cloudhsm", ("--profile", "yubihsm2"), "it was not tried"),
    ],
    ids=["Ed25519 spelt otherwise", "PIN of another form"],
)
def test_another_modules_profile_does_not_do(
    run: Run, short_dir: Path, name: str, options: tuple[str, ...], said: str
) -> None:
    """Negative controls: the imitation does refuse what the profile avoids."""
    done = run(name, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (short_dir / "signer").exists()


def test_a_module_without_read_only_sessions_needs_its_profile(run: Run, short_dir: Path) -> None:
    """Negative control: init's own session is read-write, so it is the first start that fails without the profile."""
    assert run("cloudhsm").returncode == 0
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    done = subprocess.run(
        serve_command(short_dir / "signer", root), capture_output=True, text=True, timeout=15, check=False
    )
    assert (done.returncode, "SessionReadOnly" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", ["yubihsm2", "smartcard-hsm"])
def test_a_token_that_vendors_make_is_not_made_here(run: Run, short_dir: Path, name: str) -> None:
    done = run(name, token=False)
    assert done.returncode == 2
    assert "made with the vendor's tools" in done.stderr
    assert not (short_dir / "signer").exists()


def test_an_imported_key_is_found_though_the_module_says_always_sensitive(run: Run, short_dir: Path) -> None:
    assert run("yubihsm2").returncode == 0
    subprocess.run([sys.executable, "-c", PLANT, PINS["yubihsm2"]], check=True, timeout=15)
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    done = subprocess.run(
        serve_command(short_dir / "signer", root), capture_output=True, text=True, timeout=15, check=False
    )
    assert done.returncode == 2
    assert "CKA_LOCAL false" in done.stderr
