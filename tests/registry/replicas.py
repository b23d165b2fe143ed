"""A PostgreSQL primary with a synchronous standby, for tests: kill the one, promote the other, make a new standby."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.registry.postgres import OWNER, SETTINGS, Server, as_who

_ATTACHED_S = 30


@dataclass(slots=True)
class Pair:
    """Two servers, each with a socket directory of its own that stays the same, whoever is the primary."""

    primary: Server
    standby: Server | None
    spare: Path
    names: str
    stopped: list[int] = field(default_factory=list)

    @classmethod
    def make(cls, *, on_disk: bool, synchronous: bool = True) -> Self:
        """A running primary that acknowledges nothing before its standby has it, and a running standby."""
        names = "ANY 1 (*)" if synchronous else ""
        primary = Server.make(on_disk=on_disk, wal_keep_size="64MB", hot_standby="on")
        primary.start()
        pair = cls(primary, None, _directory(primary.directory.parent), names)
        pair.attach()
        return pair

    def attach(self) -> None:
        """Make a standby of the primary in the spare directory, start it, and demand it from now on."""
        standby = Server(self.spare, {**SETTINGS, **self.primary.settings}, names=self.primary.names)
        shutil.rmtree(standby.data, ignore_errors=True)
        self.primary.run(
            "pg_basebackup", "--pgdata", str(standby.data), "--host", str(self.primary.directory), "--username", OWNER,
            "--wal-method", "stream", "--checkpoint", "fast", "--write-recovery-conf", "--no-sync",
        )  # fmt: skip
        standby.start()
        self.standby = standby
        self.primary.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{self.names}'")
        self.primary.sql("SELECT pg_reload_conf()")
        end, wanted = time.monotonic() + _ATTACHED_S, "quorum" if self.names else "async"
        while self.primary.sql("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") != [(wanted,)]:
            assert time.monotonic() < end, standby.log()
            time.sleep(0.05)

    def url(self, database: str) -> str:
        """Both servers; whoever connects finds the one that takes writes."""
        first, second = sorted((self.primary.directory, self.spare))
        return f"postgresql+psycopg://{OWNER}@/{database}?host={first}&host={second}&target_session_attrs=read-write"

    def fail_over(self) -> None:
        """The primary is killed and stays dead; the standby becomes the primary. It waits for a standby of its own."""
        assert self.standby is not None
        self.primary.end(signal.SIGKILL)
        for each in self.stopped:  # a process that is stopped does not notice that its server is gone
            os.kill(each, signal.SIGKILL)
        self.stopped.clear()
        self.spare = self.primary.directory
        self.primary, self.standby = self.standby, None
        self.primary.sql("SELECT pg_promote(true, 60)")

    def pause_receiving(self) -> None:
        """The standby hears nothing more: what is committed from now on without waiting for it, it will not have."""
        assert self.standby is not None
        for (pid,) in self.primary.sql("SELECT pid FROM pg_stat_replication"):
            self.stopped.append(int(str(pid)))
            os.kill(self.stopped[-1], signal.SIGSTOP)

    def remove(self) -> None:
        for each in (self.primary, self.standby):
            if each is not None:
                each.remove()
        shutil.rmtree(self.spare, ignore_errors=True)


def _directory(place: Path) -> Path:
    made = Path(tempfile.mkdtemp(prefix="ks-pg-", dir=place))
    who = as_who()
    if who:
        os.chown(made, who["user"], who["group"])
    return made
