"""What crosses the wire in a device's life, and in answer to every command that somebody may try: no private key."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from tests.firmware import wire
from tests.firmware.machine import Device
from tests.firmware.rekeying import Authority
from tests.firmware.signatures import EC, RSA, new_job
from tests.firmware.test_flash_records import KEY, payload_of, slot
from tests.firmware.wire import OS, PROVISION, READ, WRITE, RefusedError

PIECE = 16  # bytes: less than a half of the shortest secret number


def whole_life(device: Device, alg: int) -> None:
    """Everything that the station asks for, then each command of each group with nothing, or a key's name, in it."""
    client, authority, job = device.client, Authority(), new_job()
    client.make_key(alg, job)
    client.prove(os.urandom(32), "pin")
    client.write_anchor(authority.anchor())
    client.read_anchor()
    client.lock(job)
    client = device.power_cycle()
    client.report(os.urandom(32))
    authority.new_key(client, alg)
    client.prove_beside(os.urandom(32), "rekey")
    for group in (*range(10), 63, 64, PROVISION, 66):
        for command in range(18):
            for op in (READ, WRITE):
                if (group, command) != (OS, 5):  # the reset
                    with contextlib.suppress(RefusedError):
                        client.call(op, group, command, job=job, off=0, len=4096, name="key")


def leaked(heard: bytes, secret: bytes, public: bytes) -> list[bytes]:
    """The pieces of the secret that were heard."""
    pieces = (secret[at : at + PIECE] for at in range(len(secret) - PIECE + 1))
    return [piece for piece in pieces if piece in heard and piece not in public]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("alg", [EC, RSA])
def test_no_private_key_crosses_the_wire(
    device: Device, flash: Path, alg: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[bytes] = []
    parse = wire.parse_frame

    def listen(frame: bytes) -> wire.Answer:
        frames.append(frame)
        return parse(frame)

    monkeypatch.setattr(wire, "parse_frame", listen)
    whole_life(device, alg)
    publics = (device.client.public_key()["spki"], device.client.key_beside()["spki"])
    heard = b"".join(frames)
    assert len(frames) > 200
    for which, public in enumerate(publics):
        secret = payload_of(slot(flash, KEY, which))[17:]
        assert public in heard, "what crosses is looked through"
        assert leaked(heard, secret, public) == []
        assert leaked(heard + secret[5 : 5 + PIECE], secret, public) == [secret[5 : 5 + PIECE]], "the control"
