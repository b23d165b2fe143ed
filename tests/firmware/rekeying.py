"""A locked device, its authority, and what that signs: composed here a second time, from docs/wire.md §4.7 alone."""

import struct
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.firmware.machine import DEVICE_ID
from tests.firmware.signatures import EC, new_anchor, new_job
from tests.firmware.wire import Client

NEW_KEY, COMMIT, END_OLD_KEY, ABANDON, NEW_ANCHOR, UNLOCK = range(1, 7)
NONE, NEW, OLD = range(3)
NOTHING = bytes(32)
TYPE = b"application/vnd.keystation.rekey-authorisation.v1"


def new_private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def payload(
    step: int, nonce: bytes, key: bytes, subject: bytes = NOTHING, alg: int = 0, device: bytes = DEVICE_ID
) -> bytes:
    """`key` and `subject` are fingerprints, or the anchor's hash; what the device does not judge is an example's."""
    head = b"DRKA\x01" + bytes([step, alg]) + device + nonce + key + subject
    return head + sha256(b"act").digest() + sha256(b"root").digest() + struct.pack(">Q64s", 1_800_000_000, b"demo")


def signed(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    message = b"DSSEv1 %d %s %d %s" % (len(TYPE), TYPE, len(data), data)
    return private.sign(message, ec.ECDSA(SHA256()))


def anchor_hash(anchor: dict[str, Any]) -> bytes:
    parts = (anchor["cloud"], anchor["auth"], anchor["host"].encode())
    packed = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    return sha256(packed + struct.pack(">BH", anchor["svc"], anchor["port"])).digest()


@dataclass
class Authority:
    """Who may change the devices whose anchor names its key."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=new_private)

    def anchor(self, host: str = "cloud.example") -> dict[str, Any]:
        return {**new_anchor(host), "auth": public_of(self.private)}

    def lock(self, client: Client, alg: int = EC) -> bytes:
        """Makes a locked device of a fresh one; its public key."""
        job = new_job()
        spki = client.make_key(alg, job)
        client.write_anchor(self.anchor())
        client.lock(job)
        return spki

    def step(self, client: Client, step: int, subject: bytes = NOTHING, alg: int = 0, **anchor: Any) -> int:
        """One step, rightly authorised for the device at the line."""
        key = sha256(client.public_key()["spki"]).digest()
        words = payload(step, client.nonce(), key, subject, alg)
        return client.step(words, signed(self.private, words), **anchor)

    def new_key(self, client: Client, alg: int = EC) -> bytes:
        """A new key beside the old one; its public key."""
        assert self.step(client, NEW_KEY, alg=alg) == 1
        client.wait_for_key()
        return client.key_beside()["spki"]

    def commit(self, client: Client) -> None:
        assert self.step(client, COMMIT, sha256(client.key_beside()["spki"]).digest()) == 2

    def end_old_key(self, client: Client) -> None:
        assert self.step(client, END_OLD_KEY, sha256(client.key_beside()["spki"]).digest()) == 2

    def abandon(self, client: Client) -> None:
        assert self.step(client, ABANDON, sha256(client.key_beside()["spki"]).digest()) == 2

    def new_anchor(self, client: Client, anchor: dict[str, Any]) -> None:
        assert self.step(client, NEW_ANCHOR, anchor_hash(anchor), **anchor) == 2

    def unlock(self, client: Client) -> None:
        assert self.step(client, UNLOCK) == 2
