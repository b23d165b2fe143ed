"""What the firmware leaves in its flash is what docs/wire.md §6 says, byte for byte; and what *status* says after a start."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.firmware.machine import Device
from tests.firmware.rekeying import Authority
from tests.firmware.signatures import EC, RSA, new_anchor, new_job, new_spki
from tests.firmware.wire import RefusedError

KEY, ANCHOR, LOCK, REKEY = 1, 2, 3, 4
SLOTS = {KEY: (0x1000, 0x2000), ANCHOR: (0x3000, 0x4000), LOCK: (0x5000, 0x6000), REKEY: (0x7000, 0x8000)}


def record(kind: int, sequence: int, payload: bytes) -> bytes:
    head = struct.pack(">4sBBHII", b"PREC", kind, 1, 0, sequence, len(payload)) + payload
    return head + struct.pack(">I", zlib.crc32(head))


def slot(flash: Path, kind: int, which: int) -> bytes:
    address = SLOTS[kind][which]
    return flash.read_bytes()[address : address + 0x1000]


def payload_of(sector: bytes) -> bytes:
    return sector[16 : 16 + int.from_bytes(sector[12:16])]


def padded(data: bytes) -> bytes:
    return data.ljust(0x1000, b"\xff")


def public(key: ec.EllipticCurvePrivateKey | rsa.RSAPublicNumbers) -> bytes:
    spki = key.public_key()
    return spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_ec_key_record(device: Device, flash: Path) -> None:
    job, next_job = new_job(), new_job()
    for sequence, (which, its_job) in enumerate(((0, job), (1, next_job)), start=1):
        spki = device.client.make_key(EC, its_job, replace=True)
        sector = slot(flash, KEY, which)
        payload = payload_of(sector)
        assert len(payload) == 49
        assert (payload[0], payload[1:17]) == (1, its_job)
        assert public(ec.derive_private_key(int.from_bytes(payload[17:]), ec.SECP256R1())) == spki
        assert sector == padded(record(KEY, sequence, payload))
        assert slot(flash, KEY, 1 - which) == padded(b""), "the other key is still there"


def test_an_rsa_key_record(device: Device, flash: Path) -> None:
    job = new_job()
    spki = device.client.make_key(RSA, job)
    sector = slot(flash, KEY, 0)
    payload = payload_of(sector)
    assert len(payload) == 273
    assert (payload[0], payload[1:17]) == (2, job)
    p, q = int.from_bytes(payload[17:145]), int.from_bytes(payload[145:])
    assert public(rsa.RSAPublicNumbers(65537, p * q)) == spki
    assert sector == padded(record(KEY, 1, payload))


@pytest.mark.parametrize("service", ["udp", "tcp"])
def test_an_anchor_record(device: Device, flash: Path, service: str) -> None:
    longest = {"svc": 0, "cloud": new_spki(RSA), "host": "h" * 63, "port": 65535}
    anchor = new_anchor() if service == "udp" else {**new_anchor(), **longest}
    device.client.write_anchor(anchor)
    parts = (anchor["cloud"], anchor["auth"], anchor["host"].encode())
    payload = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    payload += struct.pack(">BH", anchor["svc"], anchor["port"])
    assert len(payload) == 9 + sum(map(len, parts))
    assert slot(flash, ANCHOR, 0) == padded(record(ANCHOR, 1, payload))
    device.client.write_anchor(anchor)
    assert slot(flash, ANCHOR, 1) == padded(record(ANCHOR, 2, payload))
    assert slot(flash, ANCHOR, 0) == padded(record(ANCHOR, 1, payload)), "an anchor's old record is kept"


def test_a_lock_record(device: Device, flash: Path) -> None:
    job = new_job()
    device.client.make_key(EC, job)
    device.client.write_anchor(new_anchor())
    device.client.lock(job)
    assert slot(flash, LOCK, 0) == padded(record(LOCK, 1, job))


def test_the_records_of_two_keys(device: Device, flash: Path) -> None:
    authority, client = Authority(), device.client
    authority.lock(client)
    job = client.public_key()["job"]
    new = authority.new_key(client)
    first, second = (payload_of(slot(flash, KEY, which)) for which in (0, 1))
    assert slot(flash, KEY, 0) == padded(record(KEY, 1, first))
    assert slot(flash, KEY, 1) == padded(record(KEY, 2, second))
    assert second[1:17] == job
    assert public(ec.derive_private_key(int.from_bytes(second[17:]), ec.SECP256R1())) == new
    assert slot(flash, REKEY, 0) == padded(record(REKEY, 1, struct.pack(">BI", 1, 1)))
    authority.commit(client)
    assert slot(flash, REKEY, 1) == padded(record(REKEY, 2, struct.pack(">BI", 2, 1)))
    assert (slot(flash, KEY, 0), slot(flash, KEY, 1)) == (padded(record(KEY, 1, first)), padded(record(KEY, 2, second)))
    authority.end_old_key(client)
    assert slot(flash, REKEY, 0) == padded(record(REKEY, 3, struct.pack(">BI", 0, 0)))
    assert (slot(flash, KEY, 0), slot(flash, KEY, 1)) == (padded(b""), padded(record(KEY, 2, second)))
    authority.unlock(client)
    assert slot(flash, LOCK, 0) == slot(flash, LOCK, 1) == padded(b"")


@pytest.mark.parametrize("payload", [b"", bytes(4), bytes(6), b"\x03" + bytes(4)])
def test_a_re_key_record_that_is_none_means_that_the_newest_key_counts(
    start: Callable[..., Device], flash: Path, payload: bytes
) -> None:
    image = bytearray(flash.read_bytes())
    image[0x7000:0x8000] = padded(record(REKEY, 1, payload))
    flash.write_bytes(image)
    client, authority = start().client, Authority()
    old = authority.lock(client)
    assert client.public_key()["spki"] == old
    assert client.key_beside()["st"] == 0


@pytest.mark.parametrize(
    "payload", [b"", b"\x01" + bytes(47), b"\x01" + bytes(49), b"\x02" + bytes(48), b"\x03" + bytes(48)]
)
def test_a_key_payload_of_another_size_is_no_key(start: Callable[..., Device], flash: Path, payload: bytes) -> None:
    image = bytearray(flash.read_bytes())
    image[0x1000:0x2000] = padded(record(KEY, 1, payload))
    flash.write_bytes(image)
    client = start().client
    assert client.identify()["key"] == 0
    with pytest.raises(RefusedError):
        client.public_key()


@pytest.mark.parametrize(
    "payload", [b"", bytes(8), bytes(10), b"\x00\x05abc", struct.pack(">H", 295) + bytes(295) + bytes(7)], ids=range(5)
)
def test_an_anchor_payload_that_does_not_add_up_is_no_anchor(
    start: Callable[..., Device], flash: Path, payload: bytes
) -> None:
    image = bytearray(flash.read_bytes())
    image[0x3000:0x4000] = padded(record(ANCHOR, 1, payload))
    flash.write_bytes(image)
    assert start().client.identify()["anc"] is False


@pytest.mark.parametrize("payload", [b"", b"short", bytes(16)])
def test_a_valid_lock_record_locks_whatever_it_says(start: Callable[..., Device], flash: Path, payload: bytes) -> None:
    image = bytearray(flash.read_bytes())
    image[0x5000:0x6000] = padded(record(LOCK, 1, payload))
    flash.write_bytes(image)
    assert start().client.identify()["lock"] == 1


def test_status_tells_of_this_start_only(device: Device) -> None:
    job = new_job()
    assert device.client.status() == (0, 0)
    device.client.make_key(EC, job)
    assert device.client.status() == (2, 100)
    assert device.client.generate(EC, job) == 2
    assert device.client.status() == (2, 100)
    for restart in (device.power_cycle, device.reset):
        restart()
        assert device.client.status() == (0, 0)
        assert device.client.generate(EC, job) == 2
        assert device.client.status() == (0, 0)
