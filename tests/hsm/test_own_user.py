"""The signer under a user of its own: what the station's user, others, and the signer's own other processes can do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.hardening import CORE_FILES, MEMORY_LOCKED, NO_NEW_PRIVILEGES, NOT_DUMPABLE
from tests.hsm import own_users
from tests.hsm.own_users import IN_GROUP, SIGNER, STATION, STRANGER, make, refused, serving, tried

UNPROTECTED = "import hsm.hardening as h; h.protect = lambda: {}"
UNCHECKED = "import hsm.check as c; c.check_places = lambda *_, **__: None"
STATUS = "import asyncio, sys; from pathlib import Path; from hsm.client import SignerClient; print(asyncio.run(SignerClient(Path(sys.argv[1])).status()).name)"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may pass, on a path short enough for a socket."""
    own_users.require_users()
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def status(user: own_users.User, directory: Path) -> subprocess.CompletedProcess[str]:
    return user.run([sys.executable, "-c", STATUS, directory / "run" / "signer.sock"])


def test_the_stations_user_can_ask_and_nothing_else(place: Path, record_property) -> None:
    directory = make(place / "signer")
    before = sorted((str(each), each.lstat().st_mode, each.lstat().st_uid) for each in directory.rglob("*"))
    with serving(directory) as (process, _):
        assert status(STATION, directory).stdout == "st-01\n"
        outcomes = tried(STATION, directory, process)
        assert status(STATION, directory).stdout == "st-01\n"
        shown = STATION.run([sys.executable, "-m", "hsm", "status", "--dir", directory])
        assert "role         factory" in shown.stdout, shown.stderr
        after = sorted((str(each), each.lstat().st_mode, each.lstat().st_uid) for each in directory.rglob("*"))
        assert {*after} >= {*before}
    assert {name: each for name, each in outcomes.items() if each != "refused"} == {}
    assert len(outcomes) >= 60
    record_property("figures", f"station's user: {len(outcomes)} of {len(outcomes)} forbidden acts refused")


def test_each_of_these_acts_succeeds_where_nothing_is_closed(place: Path) -> None:
    """The negative control: the directory is the station's own, and the process unprotected."""
    directory = make(place / "signer", STATION)
    os.chown(place, STATION.uid, STATION.gid)
    with serving(directory, STATION, instead=f"{UNPROTECTED}; {UNCHECKED}") as (process, _):
        outcomes = tried(STATION, directory, process)
    assert {
        name: each for name, each in outcomes.items() if each != "done" and name not in own_users.restricted()
    } == {}


def test_users_beside_the_station_are_refused(place: Path) -> None:
    directory = make(place / "signer")
    with serving(directory) as (process, _):
        assert "this user may not use this signer" in status(IN_GROUP, directory).stderr
        assert "Permission denied" in status(STRANGER, directory).stderr
        assert {*tried(STRANGER, directory, process).values()} == {"refused"}


def test_the_signers_own_other_processes_cannot_look_into_it(place: Path) -> None:
    directory = make(place / "signer")
    with serving(directory) as (process, _):
        outcomes = tried(SIGNER, directory, process, "process:")
    assert {name: each for name, each in outcomes.items() if each != "refused"} == {}
    assert len(outcomes) >= 20


def test_a_dumpable_signer_is_found(place: Path) -> None:
    directory = make(place / "signer")
    with serving(directory, instead=UNPROTECTED) as (process, _):
        outcomes = tried(SIGNER, directory, process, "process:")
    assert {
        name: each for name, each in outcomes.items() if each != "done" and name not in own_users.restricted()
    } == {}
    assert outcomes["process: read environ"] == "done"


@pytest.mark.parametrize("instead", ["", UNPROTECTED])
def test_no_core_file_is_written_though_the_limit_allows_it(place: Path, instead: str) -> None:
    directory = make(place / "signer")
    with serving(directory, instead=instead) as (process, _):
        process.send_signal(signal.SIGABRT)
        _, ended = os.waitpid(process.pid, 0)
        process.returncode = -os.WTERMSIG(ended)
    assert os.WTERMSIG(ended) == signal.SIGABRT
    assert os.WCOREDUMP(ended) is bool(instead)


OPEN_PLACES = {
    "directory": (".", 0o770, "chmod 0750"), "socket's directory": ("run", 0o770, "chmod 0750"),
    "tokens": ("tokens", 0o750, "chmod 0700"), "user-pin": ("user-pin", 0o640, "chmod 0600"),
    "so-pin": ("so-pin", 0o640, "chmod 0600"), "counters": ("counters.db", 0o640, "chmod 0600"),
    "settings": ("signer.toml", 0o660, "chmod 0640"), "SoftHSM's settings": ("softhsm2.conf", 0o660, "chmod 0640"),
    "lock of the token": ("token.lock", 0o640, "chmod 0600"), "others": ("signer.toml", 0o644, "chmod 0640"),
}  # fmt: skip


@pytest.mark.timeout(60)  # some twenty starts
def test_a_place_with_a_wrong_mode_owner_or_link_is_found_at_start(place: Path) -> None:
    directory = make(place / "signer")
    for name, mode, remedy in OPEN_PLACES.values():
        path = directory / name
        before = path.stat().st_mode
        path.chmod(mode)
        assert f"{remedy} {path}" in refused(directory), name
        path.chmod(before)
    for name in ("user-pin", "tokens", "counters.db", "signer.toml"):
        os.chown(directory / name, STATION.uid, SIGNER.gid)
        assert refused(directory)
        os.chown(directory / name, SIGNER.uid, SIGNER.gid)
    for name in ("user-pin", "run", "tokens", "counters.db", "signer.toml"):
        (directory / name).rename(place / "moved")
        (directory / name).symlink_to(place / "moved")
        assert refused(directory), name
        (directory / name).unlink()
        (place / "moved").rename(directory / name)
    with serving(directory):
        pass


@pytest.mark.timeout(60)
def test_at_a_site_nobody_else_may_rename_what_leads_to_the_signer(place: Path) -> None:
    own_users.require_capability("CAP_IPC_LOCK", 14)
    directory = make(place / "signer")
    set_entry(directory, environment='"plant-a"')
    for uid, mode in ((STATION.uid, 0o711), (0, 0o777), (0, 0o731)):
        os.chown(place, uid, STATION.gid)
        place.chmod(mode)
        assert f"{place} leads to {directory}" in refused(directory, may_lock=True)
    for uid, mode in ((SIGNER.uid, 0o711), (0, 0o711), (0, 0o1777)):
        os.chown(place, uid, STATION.gid)
        place.chmod(mode)
        assert "a soft token is not taken" in refused(directory, may_lock=True)


def test_at_a_site_nobody_else_may_write_the_trust_root(place: Path) -> None:
    own_users.require_capability("CAP_IPC_LOCK", 14)
    directory, root = make(place / "signer"), place / "root.json"
    set_entry(directory, environment='"plant-a"')
    for uid, mode in ((STATION.uid, 0o644), (0, 0o664), (0, 0o646)):
        os.chown(root, uid, STATION.gid)
        root.chmod(mode)
        assert f"trust root {root}: let only root" in refused(directory, may_lock=True)
    os.chown(root, SIGNER.uid, SIGNER.gid)
    root.chmod(0o640)
    assert "a soft token is not taken" in refused(directory, may_lock=True)


def set_entry(directory: Path, **entries: str) -> None:
    """Put entries into signer.toml and the environment into the root."""
    toml = directory / "signer.toml"
    lines = [line for line in toml.read_text().splitlines() if line.split(" = ")[0] not in entries]
    toml.write_text("\n".join([*lines, *(f"{key} = {value}" for key, value in entries.items()), ""]))


@pytest.mark.parametrize("may_lock", [True, False])
def test_what_holds_is_shown_and_what_does_not_is_said(place: Path, may_lock: bool) -> None:
    own_users.require_capability("CAP_IPC_LOCK", 14)
    directory = make(place / "signer")
    with serving(directory, may_lock=may_lock) as (process, before):
        shown = SIGNER.run([sys.executable, "-m", "hsm", "status", "--dir", directory]).stdout
        locked_kib = int(Path(f"/proc/{process.pid}/status").read_text().split("VmLck:")[1].split()[0])
    assert ("memory-locked does not hold" in before) is not may_lock
    assert (locked_kib > 50_000) is may_lock
    for name in (CORE_FILES, NOT_DUMPABLE, MEMORY_LOCKED, NO_NEW_PRIVILEGES):
        holds = may_lock or name != MEMORY_LOCKED
        assert f"protection   {name:<17} {'holds' if holds else 'DOES NOT HOLD'}\n" in shown


def test_a_site_asks_for_locked_memory_unless_told_otherwise(place: Path) -> None:
    """What comes next at a site is another refusal: the token is soft, or its parent directory another's."""
    own_users.require_capability("CAP_IPC_LOCK", 14)
    directory = make(place / "signer")
    set_entry(directory, environment='"plant-a"')
    said = refused(directory)
    assert "memory-locked does not hold" in said
    assert "may_swap = true" in said
    assert "memory-locked" not in refused(directory, may_lock=True)
    set_entry(directory, may_swap="true")
    said = refused(directory)
    assert "a soft token is not taken" in said
    assert "WARNING hsm.hardening memory-locked does not hold" in said
