"""A signer that runs as a user of its own, and other users beside it: throw-away user ids, no entry in any user list."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.hsm import forbidden_acts
from tests.hsm.test_service import await_ready, public, serve_command, write_root

REPOSITORY = Path(__file__).parents[2]
ACTS = Path(__file__).with_name("forbidden_acts.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
Environment = Mapping[str, str]
NOBODYS = 64_410  # ids of Debian's range that nobody hands out


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def command(self, command: Sequence[str | Path], *, may_lock: bool = False) -> list[str | Path]:
        """Run by root, becomes the command run by this user, who may write core files, and lock memory or nearly none.

        It may by a capability, as not every root may raise limits: see capabilities(7), CAP_IPC_LOCK.
        """
        groups = ("--groups", ",".join(map(str, self.groups))) if self.groups else ("--clear-groups",)
        lock = ("--inh-caps", "+ipc_lock", "--ambient-caps", "+ipc_lock") if may_lock else ()
        who = ("setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), *groups, *lock)
        return [*reachable(), "prlimit", "--memlock=4194304:4194304", "--core=unlimited:unlimited", *who, *command]

    def run(
        self, command: Sequence[str | Path], *, may_lock: bool = False, environment: Environment = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(command, may_lock=may_lock), cwd="/", env={**ENVIRONMENT, **environment}, capture_output=True, text=True,
            timeout=20, check=False,
        )  # fmt: skip

    def home(self, below: Path) -> Path:
        """A new directory that is this user's alone."""
        path = below / f"home-{self.uid}"
        path.mkdir(mode=0o700)
        os.chown(path, self.uid, self.gid)
        return path


SIGNER = User(NOBODYS, NOBODYS)
STATION = User(NOBODYS + 1, NOBODYS + 1, (SIGNER.gid,))  # shares the signer's group and stands in allowed_uids
IN_GROUP = User(NOBODYS + 2, NOBODYS + 2, (SIGNER.gid,))  # shares the group only
STRANGER = User(NOBODYS + 3, NOBODYS + 3)


def reachable() -> list[str | Path]:
    """What to put before a command, so that clone and interpreter can be reached where they lie in a closed home.

    In a mount namespace of the command's own an empty, open directory hides the closed one, and holds them only.
    """
    needed = sorted({REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)})
    closed = {path: _closed(path) for path in needed}
    hidden = sorted({each for each in closed.values() if each is not None})
    if not hidden:
        return []
    kept = {path: f"/mnt/{number}" for number, path in enumerate(needed) if closed[path] is not None}
    lines = ["mount -t tmpfs -o mode=755 none /mnt"]
    lines += [f"mkdir {there}; mount --bind {shlex.quote(str(path))} {there}" for path, there in kept.items()]
    lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(each))}" for each in hidden]
    for path, there in kept.items():
        lines += [f"mkdir -p {shlex.quote(str(path))}", f"mount --bind {there} {shlex.quote(str(path))}"]
    return ["unshare", "--mount", "sh", "-e", "-c", "\n".join([*lines, 'exec "$@"']), "sh"]


def _closed(path: Path) -> Path | None:
    """The topmost directory on the way to the path that other users may not pass."""
    return next((each for each in [*reversed(path.parents), path] if not each.stat().st_mode & 0o001), None)


def require_users() -> None:
    """Skip where no other user can be tried."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of other users")
    tried = STRANGER.run([sys.executable, "-c", "import hsm.cli"])
    if tried.returncode != 0:
        pytest.skip(f"other users cannot be tried here: {tried.stderr.strip()}")


def require_capability(name: str, number: int) -> None:
    """Skip where root has been cut short, as in many a container."""
    if not int(effective(), 16) & 1 << number:
        pytest.skip(f"root has no {name} here")


def restricted() -> set[str]:
    """Acts that this machine refuses to everybody, so that no control can show them to succeed."""
    if _status("Seccomp") != "0":  # a container's own filter: it says nothing of which
        pytest.skip("this container refuses some of these acts by itself")
    yama, namespaces = Path("/proc/sys/kernel/yama/ptrace_scope"), ["unshare", "--user", "true"]
    names = {"file: read the PIN as root of a user namespace"} if STRANGER.run(namespaces).returncode else set()
    if yama.exists() and yama.read_text().strip() != "0":
        names |= {name for name in forbidden_acts.ACTS if re.search(r"process: .*(mem|ptrace|process_vm|pidfd)", name)}
    return names


def effective() -> str:
    """Root's capabilities, in hexadecimal."""
    return _status("CapEff")


def _status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def make(directory: Path, owner: User = SIGNER) -> Path:
    """A signer's directory as `station-signer init` makes it for this user, open to the station's user id."""
    directory.mkdir()
    os.chown(directory, owner.uid, owner.gid)
    made = owner.run([sys.executable, "-m", "hsm", "init", "--dir", directory, "--role", "factory", "--name", "st-01"])
    assert made.returncode == 0, made.stderr
    toml = directory / "signer.toml"
    text = toml.read_text()
    assert "allowed_uids = []" in text
    toml.write_text(text.replace("allowed_uids = []", f"allowed_uids = [{STATION.uid}]"))
    root = directory.with_name("root.json")
    write_root(root, public(directory))
    root.chmod(0o644)
    return directory


@contextmanager
def serving(
    directory: Path,
    user: User = SIGNER,
    *,
    instead: str = "",
    may_lock: bool = False,
    environment: Environment = MappingProxyType({}),
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and what it said before it was ready. `instead` is run before the program, to disable a part."""
    command = serve_command(directory, directory.with_name("root.json"))
    if instead:
        command[1:3] = ["-c", f"{instead}; from hsm.cli import main; main()"]
    process = subprocess.Popen(
        user.command(command, may_lock=may_lock),
        cwd=directory,
        env={**ENVIRONMENT, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield process, await_ready(process.stderr)
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


def refused(directory: Path, *, may_lock: bool = False, environment: Environment = MappingProxyType({})) -> str:
    """What a signer says that does not start."""
    command = serve_command(directory, directory.with_name("root.json"))
    done = SIGNER.run(command, may_lock=may_lock, environment=environment)
    assert (done.returncode, "ready:" in done.stderr) == (2, False), done.stderr
    return done.stderr


def tried(user: User, directory: Path, signer: subprocess.Popen[str], prefix: str = "") -> dict[str, str]:
    """Outcome by act, tried by this user."""
    token_file = next((directory / "tokens").glob("*/token.object"))
    home = user.home(directory.parent)
    done = user.run([sys.executable, ACTS, directory, str(signer.pid), token_file, home, prefix])
    assert done.returncode == 0, done.stderr
    return {str(name): str(outcome) for name, outcome in json.loads(done.stdout).items()}
