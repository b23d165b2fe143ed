"""A signer's server inside this process, on a real socket: for tests that need many clients or planted faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from hsm.peers import Peers
from hsm.server import SignerServer
from hsm.worker import Worker
from tests.hsm.local_signer import CloudVerbs, FactoryVerbs


@asynccontextmanager
async def served(
    role: FactoryVerbs | CloudVerbs, path: Path, allowed_uids: Collection[int] | Peers | None = None
) -> AsyncIterator[SignerServer]:
    """Listening when entered, ended when left."""
    import os

    ready, uids = asyncio.Event(), {os.geteuid()} if allowed_uids is None else allowed_uids
    peers = uids if isinstance(uids, Peers) else Peers.alike(uids)
    with ThreadPoolExecutor(1) as thread:
        server = SignerServer(role.signatory, path, peers, Worker(role.signatory.counters, thread))
        task = asyncio.create_task(server.serve(ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        try:
            yield server
        finally:
            server.stop()
            await task
