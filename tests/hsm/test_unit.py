"""The signer's unit: what each profile opens, what systemd thinks of it, and that the signer works inside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsm import config
from hsm.client import SignerClient
from hsm.config import SetupError, SignerConfig
from hsm.unit import PROFILES, Installation, hidden, render
from tests import warm
from tests.hsm import own_users, sandbox_acts
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.own_users import ENVIRONMENT, SIGNER
from tests.hsm.test_service import await_ready, public, write_root
from trust.merkle import EMPTY_ROOT
from trust.signed_note import Head
from trust.statement import envelope

WORST = 1.5
NEEDED = {"usb": {"devices": ("/dev/yubihsm",)}, "network": {"addresses": ("192.0.2.7", "2001:db8::/64")}}
STANDIN, ACTS = Path(__file__).with_name("unit_standin.py"), Path(__file__).with_name("sandbox_acts.py")
NO_SYSTEMD = "systemd-analyze is not installed: see setup/packages-base.txt"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason=NO_SYSTEMD)


def made(**changes: object) -> SignerConfig:
    values = {"role": "factory", "name": "st-01", "environment": "demo", "token_label": "st-01", "module": "/x.so"}
    return SignerConfig(**(values | {"user_pin": "cred:user-pin"} | changes))  # type: ignore[arg-type]


def where(profile: str = "softhsm", **changes: object) -> Installation:
    values = {
        "directory": Path("/var/lib/keystation/factory"), "root": Path("/etc/keystation/root.json"),
        "command": Path("/usr/bin/true"), "profile": profile,
    }  # fmt: skip
    return Installation(**(values | NEEDED.get(profile, {}) | changes))  # type: ignore[arg-type]


def exposure(text: str, directory: Path) -> float:
    unit = directory / "station-signer-test.service"
    unit.write_text(text)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={WORST * 10:.0f}", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = float(done.stdout.rsplit("exposure level for", 1)[1].split(":")[1].split()[0])
    assert (done.returncode == 0) is (found <= WORST), done.stderr
    return found


@needs_systemd
@pytest.mark.parametrize("role", ["factory", "cloud"])
@pytest.mark.parametrize("profile", PROFILES)
def test_systemd_finds_little_exposed_and_nothing_wrong(
    profile: str, role: str, tmp_path: Path, record_property
) -> None:
    text = render(made(role=role), where(profile))
    found = exposure(text, tmp_path)
    assert found <= WORST
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "station-signer-test.service"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    unknown = [line for line in done.stderr.splitlines() if "station-signer-test" in line]
    assert (done.returncode, unknown) == (0, [])
    if role == "factory":
        record_property("figures", f"signer's unit, profile {profile}: exposure {found} of at most {WORST}")


@needs_systemd
@pytest.mark.parametrize("profile", PROFILES)
def test_a_unit_without_some_of_its_directives_is_found(profile: str, tmp_path: Path) -> None:
    taken = ("SystemCallFilter", "CapabilityBoundingSet", "NoNewPrivileges", "User", "PrivateDevices", "DevicePolicy")
    lines = render(made(), where(profile)).splitlines()
    assert exposure("\n".join(line for line in lines if not line.startswith(taken)), tmp_path) > WORST


@needs_systemd
def test_an_unknown_directive_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.service").write_text(render(made(), where()).replace("ProtectClock", "ProtectClocks"))
    command = ["systemd-analyze", "verify", "--man=no", tmp_path / "wrong.service"]
    assert "ProtectClocks" in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def lines(profile: str, *names: str, **changes: object) -> list[str]:
    return [line for line in render(made(), where(profile, **changes)).splitlines() if line.startswith(names)]


def test_a_profile_opens_what_its_token_needs_and_nothing_else() -> None:
    network = ("IPAddress", "PrivateNetwork", "RestrictAddressFamilies")
    for profile in ("softhsm", "pcscd"):
        assert lines(profile, *network) == [
            "RestrictAddressFamilies=AF_UNIX",
            "IPAddressDeny=any",
            "PrivateNetwork=yes",
        ]
    assert lines("usb", *network) == [
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK", "IPAddressDeny=any", "PrivateNetwork=yes",
    ]  # fmt: skip
    assert lines("usb-connector", "IPAddress") == ["IPAddressDeny=any", "IPAddressAllow=localhost"]
    assert lines("network", "IPAddress") == [
        "IPAddressDeny=any", "IPAddressAllow=192.0.2.7", "IPAddressAllow=2001:db8::/64",
    ]  # fmt: skip
    for profile in PROFILES:
        wanted = (
            ["DevicePolicy=closed", "DeviceAllow=/dev/yubihsm rw"]
            if profile == "usb"
            else ["DevicePolicy=closed", "PrivateDevices=yes"]
        )
        assert lines(profile, "Device", "PrivateDevices") == wanted
    assert lines("pcscd", "Wants", "After") == ["Wants=pcscd.socket", "After=pcscd.socket"]


def test_places_user_and_credential() -> None:
    names = ("StateDirectory", "RuntimeDirectory", "ReadWritePaths", "LoadCredential", "User", "Group", "ExecStart")
    text = [line for line in render(made(socket="/run/ks/signer.sock"), where()).splitlines() if line.startswith(names)]
    assert text == [
        "ExecStart=/usr/bin/true serve --dir /var/lib/keystation/factory --root /etc/keystation/root.json",
        "User=signer-factory", "Group=signer-factory",
        "StateDirectory=keystation/factory", "StateDirectoryMode=0750", "RuntimeDirectory=ks", "RuntimeDirectoryMode=0750",
        "LoadCredentialEncrypted=user-pin:/etc/credstore.encrypted/station-signer-factory.user-pin",
    ]  # fmt: skip
    assert lines("softhsm", "ReadWritePaths", directory=Path("/srv/signer")) == ["ReadWritePaths=/srv/signer"]
    assert "LoadCredential" not in render(made(user_pin="file:user-pin"), where())
    assert lines("softhsm", "User=", "Group=", user="hsm", group="floor") == ["User=hsm", "Group=floor"]


@pytest.mark.parametrize(
    ("says", "changes", "config_changes"),
    [
        ("--device", {"profile": "usb", "devices": ()}, {}),
        ("--device is nothing", {"devices": ("/dev/null",)}, {}),
        ("below /dev", {"profile": "usb", "devices": ("/etc/passwd",)}, {}),
        ("--address", {"profile": "network", "addresses": ()}, {}),
        ("--address is nothing", {"addresses": ("192.0.2.7",)}, {}),
        ("every address", {"profile": "network", "addresses": ("0.0.0.0/0",)}, {}),
        ("IP address", {"profile": "network", "addresses": ("hsm.example",)}, {}),
        ("letters, digits", {"directory": Path("/var/lib/a b")}, {}),
        ("letters, digits", {"root": Path("/etc/%h")}, {}),
        ("letters, digits", {"root": Path("/etc/x\nUser=root")}, {}),
        ("user of its own", {"user": "root"}, {}),
        ("user of its own", {"group": "0"}, {}),
        ("no name", {"user": "a\nb"}, {}),
        ("cannot come from a unit", {}, {"user_pin": "env:PIN"}),
        ("cannot come from a unit", {}, {"user_pin": "fd:3"}),
        ("name the credential", {}, {"user_pin": "cred:a:b"}),
    ],
)  # fmt: skip
def test_what_would_open_more_or_mean_something_else_is_refused(
    says: str, changes: dict[str, object], config_changes: dict[str, object]
) -> None:
    with pytest.raises(SetupError, match=says):
        render(made(**config_changes), where(**({"profile": "softhsm"} | changes)))  # type: ignore[arg-type]


def test_what_the_unit_cannot_see_is_named() -> None:
    home, temporary = Path("/home", "x"), Path("/tmp/root.json")
    assert hidden(where(directory=home, root=temporary)) == [home, temporary]
    assert hidden(where()) == []


def test_the_command_prints_it(factory_dir: Path) -> None:
    command = [sys.executable, "-m", "hsm", "unit", "--dir", factory_dir, "--root", "root.json"]
    done = warm.run(command, check=True)
    assert done.stdout.startswith("# Made by") and f" serve --dir {factory_dir} " in done.stdout
    assert f"the unit will not see {factory_dir}" in done.stderr or not str(factory_dir).startswith("/tmp")
    wrong = warm.run([*command, "--profile", "usb"])
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "say which with --device" in wrong.stderr


# ---- the signer inside: systemd is not there to run it, tests/hsm/unit_standin.py does what it would do


@pytest.fixture
def state() -> Iterator[Path]:
    """Below /var/lib, as a unit's state directory is."""
    own_users.require_users()
    if shutil.which("systemd-analyze") is None:
        pytest.skip(NO_SYSTEMD)
    needed = (own_users.REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))
    if any(path.is_relative_to(top) for path in needed for top in ("/tmp", "/var/tmp")):
        pytest.skip("the unit hides temporary directories, and the clone lies in one")
    own_users.require_capability("CAP_SYS_ADMIN", 21)  # namespaces
    own_users.require_capability("CAP_IPC_LOCK", 14)
    name = tempfile.mkdtemp(prefix="ks-", dir="/var/lib")
    Path(name).chmod(0o711)
    yield Path(name)
    shutil.rmtree(name)


def inside(unit: Path, *program: str | Path, deadly: bool = False) -> list[str | Path]:
    words = [sys.executable, STANDIN, unit, str(SIGNER.uid), str(SIGNER.gid), *(["--deadly"] if deadly else [])]
    return [*own_users.reachable(), *words, *program]


def unit_of(directory: Path) -> Path:
    unit = directory.with_name("signer.service")
    unit.write_text(render(config.load(directory), where(directory=directory, root=directory.with_name("root.json"))))
    assert f"StateDirectory={directory.relative_to('/var/lib')}\n" in unit.read_text()
    return unit


async def provisioning(directory: Path) -> None:
    """One unit's pin statement, a checkpoint and a client assertion: everything that the factory role signs alone."""
    trusted = write_root(directory.with_name("root.json"), public(directory))
    nobody = SimpleNamespace(import_order=lambda _: None)
    floor = Floor(trusted, make_order(trusted), nobody, nobody)  # type: ignore[arg-type]
    signer, device = SignerClient(directory / "run" / "signer.sock"), Device()
    await signer.import_order(envelope(floor.order))
    await signer.sign_pin(floor.pin(device, await signer.challenge(floor.challenge_request(device))))
    await signer.sign_checkpoint(Head(origin="demo/st-01/log", size=0, root_hash=EMPTY_ROOT, old_size=0, proof=()))
    assert await signer.client_assertion("https://registry.example")
    assert all((await signer.status()).protections.values())
    await signer.close()


@pytest.mark.parametrize("deadly", [False, True])
def test_the_signer_signs_inside_its_unit(state: Path, deadly: bool) -> None:
    """Deadly: not even a refused system call that somebody shrugs off is needed."""
    directory = own_users.make(state / "signer")
    toml = directory / "signer.toml"
    toml.write_text(toml.read_text().replace("allowed_uids = [", "allowed_uids = [0, "))
    program = [sys.executable, "-m", "hsm", "serve", "--dir", directory, "--root", state / "root.json"]
    process = subprocess.Popen(
        inside(unit_of(directory), *program, deadly=deadly), cwd="/", env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        assert await_ready(process.stderr) == ""
        shown = Path(f"/proc/{process.pid}/status").read_text()
        assert "Seccomp:\t2" in shown
        asyncio.run(provisioning(directory))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, process.stderr.read()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_acts_that_the_signer_never_needs_are_refused_inside(state: Path, record_property) -> None:
    directory = own_users.make(state / "signer")
    for each in (directory / "acts", state / "free"):
        each.mkdir()
        os.chown(each, SIGNER.uid, SIGNER.gid)
    done = subprocess.run(
        inside(unit_of(directory), sys.executable, ACTS, directory / "acts"), cwd="/", env=ENVIRONMENT,
        capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused = json.loads(done.stdout)
    assert {name: each for name, each in refused.items() if each != "refused"} == {}
    control = subprocess.run(
        [sys.executable, ACTS, state / "free"], capture_output=True, text=True, timeout=15, check=True
    )
    done_here = {name for name, each in json.loads(control.stdout).items() if each == "done"}
    absent = {f"open {path}" for path in sandbox_acts.OPENED if not Path(path).exists()}
    assert refused.keys() - done_here - absent == set() or own_users.restricted()
    record_property("figures", f"inside the signer's unit: {len(refused)} of {len(refused)} needless acts refused")


def test_a_credential_that_systemd_encrypted_opens_the_token(state: Path) -> None:
    """With a key of the host's that is made for this and gone again: the file system of the host is hidden."""
    directory = own_users.make(state / "signer")
    toml = directory / "signer.toml"
    toml.write_text(toml.read_text().replace("file:user-pin", "cred:user-pin"))
    credentials = state / "credentials"
    credentials.mkdir()
    (directory / "user-pin").rename(state / "user-pin")
    script = """mount -t tmpfs none /var/lib/systemd
        systemd-creds --with-key=host encrypt --name=user-pin "$1/user-pin" "$1/signer.user-pin"
        ! grep -q "$(cat "$1/user-pin")" "$1/signer.user-pin"
        systemd-creds decrypt --name=user-pin "$1/signer.user-pin" "$1/credentials/user-pin"
    """
    subprocess.run(["unshare", "--mount", "sh", "-e", "-c", script, "sh", state], check=True, capture_output=True)
    for each in (credentials, credentials / "user-pin"):
        os.chown(each, SIGNER.uid, SIGNER.gid)
    with own_users.serving(directory, environment={"CREDENTIALS_DIRECTORY": str(credentials)}):
        pass
    (credentials / "user-pin").write_text("wrong\n")
    assert "user_pin" in own_users.refused(directory, environment={"CREDENTIALS_DIRECTORY": str(credentials)})
