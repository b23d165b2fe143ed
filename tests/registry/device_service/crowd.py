"""Devices that shake hands again and again, as a process: `python -m … tcp|udp PORT SECONDS AT_ONCE FLEET`. For measurements.

FLEET is a file of JSON: the cloud's key and the devices' ids and private keys, DER in base64. Prints JSON: how many
handshakes came to a Hello, how many did not, and this process's CPU seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from tests.registry.device_service.dtls_client import Client
from tests.registry.device_service.field_units import TcpDevice, UdpDevice
from tests.registry.device_service.oracle import OracleDevice


class Fleet(msgspec.Struct, frozen=True):
    """The cloud's public key, and (id, private key) of each device."""

    cloud: bytes
    devices: tuple[tuple[bytes, bytes], ...]


@dataclass
class QuickDevice(OracleDevice):
    """With OpenSSL's RSA in the place of plain numbers."""

    key: Any = None
    cloud_key: Any = None

    def message_2(self, nonce: bytes) -> bytes:
        return cast("bytes", self.cloud_key.encrypt(nonce + self.device_id, padding.PKCS1v15()))

    def read_3(self, message_3: bytes) -> None:
        hidden = message_3[:256]
        assert len(self.cloud_key.recover_data_from_signature(message_3[256:], padding.PKCS1v15(), None)) == 20
        self.credentials = self.key.decrypt(hidden, padding.PKCS1v15())
        self._sent = self._received = self.credentials[16:32]


@dataclass(frozen=True, slots=True)
class _Size:
    size: int = 256


@cache
def loaded(private: bytes) -> object:
    """Once: OpenSSL looks at an RSA key for longer than a handshake takes."""
    return load_der_private_key(private, None)


def tcp_device(fleet: Fleet, number: int, port: int) -> TcpDevice:
    device_id, private = fleet.devices[number % len(fleet.devices)]
    key = cast("rsa.RSAPrivateKey", loaded(private))
    size = cast("Any", _Size())
    return TcpDevice(QuickDevice(size, size, device_id, key=key, cloud_key=load_der_public_key(fleet.cloud)), port)


def udp_device(fleet: Fleet, number: int, port: int) -> UdpDevice:
    device_id, private = fleet.devices[number % len(fleet.devices)]
    key = cast("ec.EllipticCurvePrivateKey", loaded(private))
    return UdpDevice(Client(key, retransmit_ms=1_000), device_id, port)


async def shaking(protocol: str, port: int, seconds: float, at_once: int, fleet: Fleet) -> dict[str, float]:
    found = {"done": 0, "failed": 0}
    until = time.monotonic() + seconds

    async def one(first: int) -> None:
        number = first
        while time.monotonic() < until:
            if protocol == "tcp":
                device = tcp_device(fleet, number, port)
                ok = await device.greet()
                if device.writer is not None:
                    device.writer.transport.abort()
            else:
                unit = udp_device(fleet, number, port)
                ok = await unit.greet(10)
                unit.client.bye()
                await unit.turn(0)
                unit.close()
            found["done" if ok else "failed"] += 1
            number += at_once

    await asyncio.gather(*(one(first) for first in range(at_once)))
    return {**found, "cpu_s": time.process_time()}


if __name__ == "__main__":
    words = sys.argv[1:]
    fleet = msgspec.json.decode(Path(words[4]).read_bytes(), type=Fleet)
    print(json.dumps(asyncio.run(shaking(words[0], int(words[1]), float(words[2]), int(words[3]), fleet))))
