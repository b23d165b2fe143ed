"""The TCP service in a process of its own, with a key in plain numbers: prints its port, ends with its stdin.

`python -m tests.registry.device_service.tcp_child SECONDS [telling]`: how long until a refused one ends; `telling` is a
planted fault, an end that is counted from the signer's answer on, with a signer that needs 40 ms more for what has a padding.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import Future

from registry.device_service.tcp.connection import Connection, Ended, Times
from registry.device_service.tcp.handshake import Accepted
from tests.registry.device_service.seeded import seeded
from tests.registry.device_service.test_connection import Slow, serving


class Telling(Connection):
    """Planted."""

    def _judged(self, done: Future[Accepted]) -> None:
        if done.exception() is None:
            super()._judged(done)
        else:
            self._within(self._service.times.refused_s, Ended.REFUSED)


def slower_with_padding(self: Slow, ciphertext: bytes, nonce: bytes) -> bytes:
    """Planted."""
    if self.cloud.private(ciphertext)[:2] == b"\x00\x02":
        time.sleep(0.04)
    return Slow.__bases__[0].tcp_open(self, ciphertext, nonce)  # type: ignore[attr-defined, no-any-return]


async def main(refused_s: float, *, telling: bool) -> None:
    keys = {"cloud": seeded("cloud", 2048), "own": seeded("large", 2048)}
    if telling:
        Slow.tcp_open = slower_with_padding  # type: ignore[method-assign]
    async with serving(keys, Times(refused_s=refused_s), Telling if telling else Connection) as plant:
        print(plant.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), telling="telling" in sys.argv[2:]))
