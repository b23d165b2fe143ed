"""Devices in the field by their own code: the in-process device's clients, over sockets, with what their flash holds.

What is wrong with one is wrong in its flash, or on its line. Holds no assertion but for what is half open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fixtures.families.smp.emulated.flash import AnchorRecord, Flash, KeyRecord
from fixtures.families.smp.emulated.tcp_client import ClientError, TcpClient
from fixtures.families.smp.emulated.udp_client import UdpClient
from registry.device_service.field.tcp_door import TcpDoor
from registry.device_service.field.udp_door import UdpDoor
from tests.registry.make import Device, PrivateKey

IN, CLOSED = "in", "closed"


def failed(why: int) -> str:
    """What a device says that has ended it itself."""
    return f"ended by the device, why {why}"


def flash_of(device: Device, cloud: bytes, svc: int, key: PrivateKey | None = None) -> Flash:
    """A finished device's flash; another key than the pinned one, if given."""
    private = (key or device.key).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Flash(
        device_id=device.device_id.raw, product=1001, key=KeyRecord(1, private, device.job.raw),
        anchor=AnchorRecord(cloud, cloud, svc, "cloud.example", 1),
    )  # fmt: skip


def with_a_bit_flipped(flash: Flash) -> Flash:
    """In the middle of the cloud key."""
    assert flash.anchor is not None
    cloud = bytearray(flash.anchor.cloud)
    cloud[len(cloud) // 2] ^= 1
    return msgspec.structs.replace(flash, anchor=msgspec.structs.replace(flash.anchor, cloud=bytes(cloud)))


async def tcp_comes(client: TcpClient, port: int) -> str:
    """How a device's coming in ends; it hangs up then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while not client.established:
            data = await reader.read(4_096)
            if not data:
                return CLOSED
            writer.write(client.take(data))
    except ClientError as error:
        return failed(error.code)
    except ConnectionError:
        return CLOSED
    else:
        return IN
    finally:
        writer.close()


async def udp_comes(client: UdpClient, port: int, within_s: float = 4.0) -> str:
    """How a device's coming in ends; it stays in, and says no goodbye."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.setblocking(False)
        line.connect(("127.0.0.1", port))
        came = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not client.established:
                    try:
                        sent = client.take(came)
                    except ClientError as error:
                        if error.sent:
                            line.send(error.sent)
                        return failed(error.code)
                    if sent:
                        line.send(sent)
                    came = b"" if client.more else await _heard(line)
                return IN
        return CLOSED


async def _heard(line: socket.socket) -> bytes:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.2):
            return await asyncio.get_running_loop().sock_recv(line, 4_096)
    return b""


async def nothing_half_open(door: TcpDoor | UdpDoor, *, sessions: int = 0, within_s: float = 4.0) -> None:
    """All that a door counts is as if nobody had come, but for those that are in; AssertionError."""

    def counts() -> Sequence[object]:
        if isinstance(door, TcpDoor):
            return door.open, door.sessions, len(door.lines), sum(door.places.values()), sessions
        return len(door), door.sessions, sessions, sessions, door.half_open + sessions

    for _ in range(int(within_s / 0.05)):
        if set(counts()) == {sessions}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"half open: {counts()}, expected {sessions}")
