"""`station-signer init`: modes, keys, nothing overwritten, no PIN on any command line, a clear word when a module is missing."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm import config
from hsm.config import SetupError
from hsm.initialise import make_signer
from hsm.purposes import KEYS, RoleName
from hsm.token import softhsm
from tests.hsm.conftest import make_signer_dir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("role", "name"), [("factory", "st-01"), ("cloud", "reg-01")])
def test_a_signer_has_one_key_a_purpose_and_closed_places(short_dir: Path, role: RoleName, name: str) -> None:
    made = make_signer_dir(short_dir / "signer", role, name)
    keys = {purpose: base64.b64decode(text) for purpose, text in json.loads((made / "public.json").read_text()).items()}
    assert keys.keys() == KEYS[role].keys()
    kinds = {purpose: type(load_der_public_key(spki)).__name__ for purpose, spki in keys.items()}
    rsa = {purpose for purpose, kind in kinds.items() if "RSA" in kind}
    assert rsa == {purpose for purpose, kind in KEYS[role].items() if kind == "rsa-2048"}
    assert len(set(keys.values())) == len(keys)
    modes = {path.name: mode(path) for path in made.iterdir()}
    assert modes.pop("counters.db-journal", 0o600) == 0o600
    assert modes == {
        "signer.toml": 0o640, "public.json": 0o640, "softhsm2.conf": 0o640, "user-pin": 0o600, "so-pin": 0o600, "tokens": 0o700,
        "counters.db": 0o600, "run": 0o750, "token.lock": modes["token.lock"],
    }  # fmt: skip
    assert mode(made) == 0o750
    assert config.load(made).name == name


def test_pins_are_long_and_of_their_own(short_dir: Path) -> None:
    made = [make_signer_dir(short_dir / each, "factory", "st-01") for each in ("a", "b")]
    pins = {(each / name).read_text().strip() for each in made for name in ("so-pin", "user-pin")}
    assert len(pins) == 4
    assert min(map(len, pins)) == 32


def test_a_signer_is_never_overwritten(new_factory_dir: Path) -> None:
    before = {path: path.read_bytes() for path in new_factory_dir.rglob("*") if path.is_file()}
    with pytest.raises(SetupError, match="never overwritten"):
        make_signer(new_factory_dir, role="factory", name="st-01", environment="demo")
    assert before == {path: path.read_bytes() for path in new_factory_dir.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "environment", "module", "said"),
    [
        ("St 01", "demo", None, "signer name"),
        ("st-01", "Demo!", None, "environment"),
        ("s" * 33, "demo", None, "32 characters"),
        ("st-01", "demo", "/nowhere/module.so", "correct --module"),
        ("st-01", "demo", __file__, "not a PKCS#11 module"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    tmp_path: Path, name: str, environment: str, module: str | None, said: str
) -> None:
    with pytest.raises(SetupError, match=said):
        make_signer(tmp_path / "new", role="factory", name=name, environment=environment, module=module)
    assert not (tmp_path / "new").exists()


def test_a_missing_module_says_what_to_install() -> None:
    with pytest.raises(SetupError, match="apt install softhsm2"):
        softhsm.find_module(None, ("/nowhere/a.so", "/nowhere/b.so"))


def test_a_path_too_long_for_a_socket_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    with pytest.raises(SetupError, match="107 bytes"):
        make_signer(deep, role="factory", name="st-01", environment="demo")
    assert not deep.exists()


# The child records every process it starts and what its own command line says.
WATCH = """
import json, sys
started = []
sys.addaudithook(lambda event, args: started.append(repr(args)) if event in {
    "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork", "os.forkpty"} else None)
from hsm.cli import cli
%s
try:
    cli(["init", "--dir", sys.argv[1], "--role", "factory", "--name", "st-01"])
except SystemExit as error:
    assert not error.code, error
print(json.dumps({"started": started, "own": open("/proc/self/cmdline").read()}))
"""
PLANTED = """
import subprocess, hsm.token.blank
real = hsm.token.blank.initialise
def leaking(module, label, so_pin, profile):
    subprocess.run(["true", "--so-pin", so_pin.reveal()])
    return real(module, label, so_pin, profile)
hsm.token.blank.initialise = leaking
"""


def _command_lines(directory: Path, planted: str) -> str:
    child = [sys.executable, "-c", WATCH % planted, str(directory)]
    done = subprocess.run(child, check=True, capture_output=True, text=True, timeout=15)
    return done.stdout


@pytest.mark.parametrize(("planted", "leaks"), [("", False), (PLANTED, True)], ids=["product", "negative control"])
def test_no_pin_stands_on_a_command_line(short_dir: Path, planted: str, leaks: bool) -> None:
    seen = _command_lines(short_dir / "signer", planted)
    pins = [(short_dir / "signer" / name).read_text().strip() for name in ("so-pin", "user-pin")]
    assert any(pin in seen for pin in pins) is leaks
    if not planted:
        assert json.loads(seen)["started"] == [], "init starts no other program at all"
