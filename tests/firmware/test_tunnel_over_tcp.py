"""The firmware on its serial line, a relay of a few lines, and the registry's TCP connection behind a real socket."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from registry.device_service.tcp.connection import Connection, Ended, Service, Times
from tests.firmware.machine import DEVICE_ID, Device, blank_flash, native_command, powered
from tests.firmware.signatures import RSA, new_anchor, new_job
from tests.firmware.tunnelling import CLOSE, CLOSED, ESTABLISHED, OPEN, STEP, STEP_LIMIT, Keys, Pin, new_rsa, spki_of

QUICK = Times(refused_s=0.2)


@pytest.fixture(scope="module")
def cloud() -> Any:
    return new_rsa()


@pytest.fixture
def keyed(native: Path, tmp_path: Path, cloud: Any) -> Iterator[tuple[Device, bytes]]:
    flash = tmp_path / "flash.bin"
    flash.write_bytes(blank_flash())
    with powered(native_command(native, flash)) as device:
        spki = device.client.make_key(RSA, new_job())
        device.client.write_anchor({**new_anchor(), "cloud": spki_of(cloud), "svc": 0})
        yield device, spki


async def relayed(device: Device, port: int) -> dict[str, Any]:
    """What the device says last: established, failed, or closed since the service has closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    device.client.tunnel(OPEN)
    try:
        while data := await asyncio.wait_for(reader.read(STEP_LIMIT), 5):
            answer = device.client.tunnel(STEP, data)
            writer.write(answer["out"])
            if answer["st"] >= ESTABLISHED:
                return answer
        return device.client.tunnel(CLOSE)
    finally:
        writer.close()


async def served(device: Device, service: Service) -> dict[str, Any]:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0)
    async with server:
        return await relayed(device, server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("wrong", [None, "cloud key", "pin"])
def test_a_session_over_a_socket(keyed: tuple[Device, bytes], cloud: Any, wrong: str | None) -> None:
    device, spki = keyed
    opened, ended = [], []
    with ThreadPoolExecutor(1) as work:
        service = Service(
            keys=Keys(new_rsa() if wrong == "cloud key" else cloud), times=QUICK, work=work,
            pins=Pin(bytes(reversed(DEVICE_ID)) if wrong == "pin" else DEVICE_ID, spki),
            opened=opened.append, ended=ended.append,
        )  # fmt: skip
        last = asyncio.run(served(device, service))
    assert last["st"] == (CLOSED if wrong else ESTABLISHED)
    assert [each.spki for each in opened] == ([] if wrong else [spki])
    assert Ended.ODD not in ended
