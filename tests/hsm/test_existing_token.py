"""`station-signer init --token`: keys in a token that others made, its PIN from a file, the module's profile said."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hsm import config
from hsm.token.softhsm import KNOWN_MODULES
from tests import warm
from tests.hsm.test_service import public, serving, write_root

pytestmark = pytest.mark.skipif(not any(Path(each).is_file() for each in KNOWN_MODULES), reason="apt install softhsm2")

PIN = "user-pin-1"
MAKE = """
import sys
from pathlib import Path
from hsm.token.softhsm import find_module
from tests.hsm.module_trials import new_token
new_token(find_module(None), Path(sys.argv[1]), "line-3", keys=False)
"""
Init = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def token(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token `line-3`, as an administrator would have made it; its PIN's file."""
    (short_dir / "tokens").mkdir(mode=0o700)
    conf = short_dir / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {short_dir / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(conf))
    subprocess.run([sys.executable, "-c", MAKE, str(short_dir)], check=True, timeout=15)
    pin = short_dir / "the-pin"
    pin.write_text(f"{PIN}\n")
    pin.chmod(0o600)
    return pin


@pytest.fixture
def init(short_dir: Path) -> Init:
    def run(name: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "hsm",
            "init",
            "--dir",
            str(short_dir / name),
            "--role",
            "factory",
            "--name",
            "st-01",
        ]
        return subprocess.run([*command, *more], capture_output=True, text=True, timeout=15, check=False)

    return run


def test_the_keys_are_made_in_the_token_that_is_there(short_dir: Path, token: Path, init: Init) -> None:
    done = init("signer", "--token", "line-3", "--user-pin", f"file:{token}")
    assert done.returncode == 0, done.stderr
    assert "module: softhsm (tried with this kind of module)\n" in done.stderr
    made = config.load(short_dir / "signer")
    assert (made.token_label, made.user_pin, made.softhsm_conf) == ("line-3", f"file:{token}", "")
    there = {each.name for each in (short_dir / "signer").iterdir()} - {"counters.db-journal"}
    assert there == {"signer.toml", "public.json", "counters.db", "token.lock", "run"}
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    with serving(short_dir / "signer", root):
        pass


def test_a_token_with_our_keys_is_refused_and_stays_as_it_is(short_dir: Path, token: Path, init: Init) -> None:
    options = ("--token", "line-3", "--user-pin", f"file:{token}")
    assert init("first", *options).returncode == 0
    again = init("second", *options)
    assert again.returncode == 2
    assert "never overwritten" in again.stderr
    assert not (short_dir / "second").exists()
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "first"))
    with serving(short_dir / "first", root):
        pass


def test_an_untried_profile_is_said_at_init_and_in_status(short_dir: Path, token: Path, init: Init) -> None:
    done = init("signer", "--token", "line-3", "--user-pin", f"file:{token}", "--profile", "generic")
    wanted = "generic (profile from documentation, not tried with this module)"
    assert f"module: {wanted}" in done.stderr
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    with serving(short_dir / "signer", root):
        command = [sys.executable, "-m", "hsm", "status", "--dir", str(short_dir / "signer")]
        lines = warm.run(command, check=True).stdout
        said = warm.run([*command, "--json"], check=True).stdout
    assert f"profile      {wanted}\n" in lines
    assert json.loads(said)["token_profile"] == wanted


def test_a_key_put_in_later_stops_the_next_start(short_dir: Path, token: Path, init: Init) -> None:
    assert init("signer", "--token", "line-3", "--user-pin", f"file:{token}").returncode == 0
    root = short_dir / "root.json"
    write_root(root, public(short_dir / "signer"))
    plant = """
import sys
from pathlib import Path
from hsm.token.pkcs11.place import TokenPlace
from hsm.token.softhsm import find_module
from tests.hsm.module_trials import bare
from tests.hsm.planted_keys import imported
with bare(TokenPlace(module=find_module(None), label="line-3", lock=Path("/dev/null"))) as session:
    imported(session)
"""
    subprocess.run([sys.executable, "-c", plant], check=True, timeout=15)
    serve = [sys.executable, "-m", "hsm", "serve", "--dir", str(short_dir / "signer"), "--root", str(root)]
    done = subprocess.run(serve, capture_output=True, text=True, timeout=15, check=False)
    assert done.returncode == 2
    assert "not made inside this token" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--token", "line-4", "--user-pin", "file:PIN"), "NoSuchToken"),
        (("--token", "line-3"), "go together"),
        (("--user-pin", "file:PIN"), "go together"),
        (("--token", "line-3", "--user-pin", "file:/nowhere"), "cannot open"),
        (("--token", "line-3", "--user-pin", "cred:none"), "LoadCredential"),
        (("--token", "line-3", "--user-pin", "file:PIN", "--profile", "yubihsm2"), "it was not tried"),
        (("--token", "line-3", "--user-pin", "file:PIN", "--profile", "toaster"), "not known"),
        (("--profile", "luna"), "made with the vendor's tools"),
    ],
)
def test_what_cannot_be_made_is_said_and_leaves_nothing(
    short_dir: Path, token: Path, init: Init, options: tuple[str, ...], said: str
) -> None:
    done = init("signer", *(each.replace("PIN", str(token)) for each in options))
    assert done.returncode == 2
    assert said in done.stderr
    assert PIN not in done.stderr + done.stdout
    assert not (short_dir / "signer").exists()


def test_a_pin_that_others_can_read_is_refused(short_dir: Path, token: Path, init: Init) -> None:
    token.chmod(0o644)
    done = init("signer", "--token", "line-3", "--user-pin", f"file:{token}")
    assert done.returncode == 2
    assert "0600" in done.stderr
    assert stat.S_IMODE(token.stat().st_mode) == 0o644


def test_a_wrong_pin_costs_one_try(short_dir: Path, token: Path, init: Init) -> None:
    token.write_text("another-pin\n")
    done = init("signer", "--token", "line-3", "--user-pin", f"file:{token}")
    assert done.returncode == 2
    assert "PinIncorrect" in done.stderr
    assert not (short_dir / "signer").exists()
