"""Makes tcp_service.json from nothing but seeds, with the tests' own device in plain numbers: `python -m tests.vectors.make_tcp_service`."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from tests.registry.device_service.oracle import OracleDevice, type_2
from tests.registry.device_service.seeded import Rsa, seeded, stream

ID = bytes(range(12))
# The generator of P-256 as a key: SEC 2 §2.4.2, RFC 5480.
EC_KEY = (
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


def filling(name: str) -> bytes:
    return bytes(each for each in stream(f"{name} filling", 600) if each)


def handshake(name: str, key: str, own: Rsa, cloud: Rsa, *, with_key: bool) -> dict[str, Any]:
    nonce, credentials = stream(f"{name} nonce", 40), stream(f"{name} credentials", 40)
    device = OracleDevice(own, cloud, ID, filling=filling(name), spki=own.spki if with_key else b"")
    hidden = own.public(type_2(credentials, own.size, filling(f"{name} answer")))
    mac = hmac.new(credentials, hidden, hashlib.sha1).digest()
    signature = cloud.private(b"\x00\x01" + b"\xff" * (cloud.size - 23) + b"\x00" + mac)
    return {
        "name": name, "device key": key, "with key": with_key, "device spki": own.spki.hex(),
        "cloud spki": cloud.spki.hex(), "device id": ID.hex(), "nonce": nonce.hex(),
        "message 2": device.message_2(nonce).hex(), "credentials": credentials.hex(),
        "message 3": (hidden + signature).hex(), "first id": (credentials[32] + 256 * credentials[33] + 1) & 0xFFFF,
    }  # fmt: skip


def session() -> dict[str, Any]:
    raw = stream("session credentials", 40)
    sides = {
        side: OracleDevice(Rsa(3, 5), Rsa(3, 5), ID, credentials=raw, _sent=raw[16:32])
        for side in ("device", "service")
    }
    frames = []
    for number, size in enumerate((5, 15, 16, 17, 34, 96, 1, 64)):
        plain = stream(f"message {number}", size)
        frames += [{"from": side, "plain": plain.hex(), "frame": sides[side].seal(plain).hex()} for side in sides]
    return {"credentials": raw.hex(), "frames": frames}


def main() -> None:
    cloud, small, large = (seeded(name, bits) for name, bits in (("cloud", 2048), ("small", 1024), ("large", 2048)))
    made = {
        "handshakes": [
            handshake("RSA-1024 with its key", "small", small, cloud, with_key=True),
            handshake("RSA-1024, the oldest form", "small", small, cloud, with_key=False),
            handshake("RSA-2048, the oldest form", "large", large, cloud, with_key=False),
        ],
        "session": session(), "an EC key": EC_KEY,
    }  # fmt: skip
    (Path(__file__).parent / "tcp_service.json").write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
