"""A real PostgreSQL server for tests: one a worker, in a directory of its own, on a UNIX socket, with data checksums.

It keeps what it has committed, as a registry demands. Each database is a copy of one that the migrations made. The
server never runs as root: as root the tests start it as Debian's `postgres`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from registry import rights, schema
from registry.database import Database

OWNER = "registry_owner"
SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "100",
    "log_min_messages": "warning",
    "lc_messages": "C",
}
_START_S = 30
_ROOM_BYTES = 4 << 30
_EMPTY = "migrated"


def programs() -> Path | None:
    """The directory of PostgreSQL's programs, the newest installed; None where there is none."""
    found = [each for each in Path("/usr/lib/postgresql").glob("*/bin") if (each / "initdb").exists()]
    if found:
        return max(found, key=lambda each: int(each.parent.name))
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


def as_who() -> dict[str, int]:
    """Arguments of `subprocess` that make a child somebody else than root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid}


@dataclass(slots=True)
class Server:
    """One server: its directory and, while it runs, its process."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    names: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def make(cls, *, checksums: bool = True, on_disk: bool = False, **settings: str) -> Server:
        """A new one with an empty cluster, not started; in memory where there is room, unless it is to be measured."""
        directory = Path(tempfile.mkdtemp(prefix="ks-pg-", dir=None if on_disk else _memory()))
        who = as_who()
        if who:
            os.chown(directory, who["user"], who["group"])
        server = cls(directory, {**SETTINGS, **settings})
        server.run(
            "initdb", "--pgdata", str(server.data), "--username", OWNER, "--auth", "trust", "--encoding", "UTF8",
            "--locale", "C", "--no-sync", "--no-instructions", *(["--data-checksums"] if checksums else []),
        )  # fmt: skip
        return server

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def run(self, program: str, *arguments: str) -> str:
        """One of PostgreSQL's programs, as the server's user."""
        return subprocess.run(
            [_program(program), *arguments], check=True, capture_output=True, text=True, cwd=self.directory, **as_who()
        ).stdout

    def start(self) -> None:
        """Start, and return when it takes connections."""
        told = [
            f"-c{name}={value}"
            for name, value in {**self.settings, "unix_socket_directories": str(self.directory)}.items()
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [_program("postgres"), "-D", str(self.data), *told], stderr=log, cwd=self.directory, **as_who()
            )
        self.wait()

    def wait(self) -> None:
        """Return when the server takes connections."""
        end = time.monotonic() + _START_S
        while True:
            assert self.process is not None and self.process.poll() is None, self.log()
            with contextlib.suppress(psycopg.OperationalError):
                return self.connect("postgres").close()
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT closes all connections and shuts down; SIGQUIT and SIGKILL are a crash."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def remove(self) -> None:
        """End it and remove its directory."""
        self.end(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def connect(self, database: str = "postgres", user: str = OWNER) -> psycopg.Connection[tuple[object, ...]]:
        """A connection that commits each statement."""
        port = self.settings.get("port", "5432")
        return psycopg.connect(
            host=str(self.directory), port=port, dbname=database, user=user, autocommit=True, connect_timeout=5
        )

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with self.connect(database) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def url(self, database: str, user: str = OWNER) -> str:
        return f"postgresql+psycopg://{user}@/{database}?host={self.directory}&port={self.settings.get('port', 5432)}"

    def empty(self, like: str = "template0") -> str:
        """The name of a new database: wholly empty, or a copy of one that nobody is connected to."""
        name = f"d{next(self.names)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {like}")
        return name

    def migrated(self) -> str:
        """The name of a new database as the migrations make it."""
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{_EMPTY}'"):
            self.sql(f"CREATE DATABASE {_EMPTY} TEMPLATE template0")
            made = Database.open(self.url(_EMPTY))
            schema.upgrade(made)
            made.close()
        return self.empty(_EMPTY)

    def serving(self, name: str) -> str:
        """A role that has in this database the rights that serving needs, and no others."""
        role = f"serving_{name}"
        self.sql(f"CREATE ROLE {role} LOGIN")
        database = Database.open(self.url(name))
        rights.grant(database, role)
        database.close()
        return role


def _memory() -> str | None:
    """Where files are in memory: removing some hundred databases takes a disk long, and no test cuts the power."""
    room = Path("/dev/shm")
    return str(room) if room.is_dir() and shutil.disk_usage(room).free > _ROOM_BYTES else None


def _program(name: str) -> str:
    found = programs()
    assert found is not None, "PostgreSQL is not installed: see setup/packages-base.txt"
    return str(found / name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The worker's server."""
    server = Server.make()
    try:
        server.start()
        yield server
    finally:
        server.remove()
