"""`python -m tests.cli.faulty_bench DIR PRODUCT`: devices with faults on real ptys, until SIGTERM.

`twin-01` and `twin-02` make the same key; `slow-01` to `slow-08` take a second for theirs. One slots file: DIR/slots.toml.
"""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.bench.bench import SLOTS_FILE, Population, running_bench
from fixtures.bench.boards import InProcessBoard
from fixtures.families.smp.emulated.faults import Faults
from fixtures.slots import read_slots, write_slots

GENERATION_S = 1.0


async def run(directory: Path, product: int) -> None:
    one_key = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    kinds = {"twin": (2, Faults(weak_key=one_key)), "slow": (8, Faults(generation_s=GENERATION_S))}
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        configs = []
        for name, (count, faults) in kinds.items():
            devices = Population(count=count, product=product, prefix=name)
            await stack.enter_async_context(running_bench(directory / name, InProcessBoard(faults), devices))
            configs += read_slots(directory / name / SLOTS_FILE)
        write_slots(directory / SLOTS_FILE, configs)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
