"""What the last demo has left: programs still at work, units to be finished, statements that wait. Looks only.

Must never remove anything, nor take a plant for settled whose ledger it cannot read.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from station import wiring
from station.config import Config, Paths
from station.disk import usable
from station.faults import Fault, fault
from station.held import finish_me
from station.jobs import LedgerError
from station.root import load_root


@contextmanager
def at_rest(state: Path) -> Iterator[None]:
    """Hold every lock of the plant, so that none of its programs starts; the fault `setup` while one has its own.

    Signers, benches and the station lock a `*.lock` file for as long as they work; the kernel lets go of it when they
    die, so a file that was left behind keeps nobody out.
    """
    with ExitStack() as stack:
        for path in sorted(state.rglob("*.lock")):
            with usable(path):
                lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, lock)
            _take(lock, path, state)
        yield


def _take(lock: int, path: Path, state: Path) -> None:
    with usable(path):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = path.parent.relative_to(state)
            text = (
                f"the plant in {state} is at work, a program uses {who}: stop its programs first (Ctrl-C in their\n"
                f"terminal, or kill them), or name another `state` in the settings"
            )
            raise fault("setup", text) from error


def unsettled(config: Config, paths: Paths) -> str | None:
    """What would be lost with this plant, in words; None if nothing would."""
    with usable(paths.database):
        if not paths.database.exists():
            return None
    try:
        held, waiting = asyncio.run(_open_ends(config, paths))
    except (Fault, LedgerError) as error:
        return f"a ledger that cannot be read, so nobody knows what waits in it ({error})"
    units = "1 unit to be finished" if held == 1 else f"{held} units to be finished"
    left = "1 statement that waits" if waiting == 1 else f"{waiting} statements that wait"
    found = [*([units] if held else []), *([f"{left} for the registry"] if waiting else [])]
    return " and ".join(found) or None


async def _open_ends(config: Config, paths: Paths) -> tuple[int, int]:
    """How many units are held, and how many statements are in the outbox."""
    store = wiring.read_store(config, paths, load_root(paths.root))
    try:
        held = [device for order in await store.orders() for device in await finish_me(store, order)]
        return len(held), len(await store.pending())
    finally:
        await store.close()
