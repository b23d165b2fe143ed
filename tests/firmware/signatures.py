"""What the device signs, composed here a second time, and checked with `cryptography`."""

import os
import struct
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.firmware.machine import DEVICE_ID

EC, RSA = 1, 2


def verify(spki: bytes, signature: bytes, message: bytes) -> None:
    """Raises InvalidSignature unless it is good."""
    key = load_der_public_key(spki)
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert isinstance(key.curve, ec.SECP256R1)
        key.verify(signature, message, ec.ECDSA(SHA256()))
        return
    assert isinstance(key, rsa.RSAPublicKey)
    assert (key.key_size, key.public_numbers().e) == (2048, 65537)
    key.verify(signature, message, padding.PKCS1v15(), SHA256())


def nonce_point(signature: bytes) -> int:
    return decode_dss_signature(signature)[0]


def proof_message(context: str, challenge: bytes, device_id: bytes = DEVICE_ID) -> bytes:
    return b"device-proof-v1\0" + bytes([12]) + device_id + bytes([len(context)]) + context.encode() + challenge


def report_body(spki: bytes, job: bytes, anchor: dict[str, Any] | None, image: bytes, lock: int) -> bytes:
    body = b"DREP\x01" + DEVICE_ID + job + sha256(spki).digest()
    if anchor is None:
        body += bytes(64) + bytes(4)
    else:
        body += sha256(anchor["cloud"]).digest() + sha256(anchor["auth"]).digest()
        body += struct.pack(">BHB", anchor["svc"], anchor["port"], len(anchor["host"])) + anchor["host"].encode()
    return body + image + bytes([lock, 0, 0, 0, 1])


def new_spki(kind: int = EC, bits: int = 2048) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()) if kind == EC else rsa.generate_private_key(65537, bits)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def new_anchor(host: str = "cloud.example", port: int = 5684) -> dict[str, Any]:
    return {"cloud": new_spki(), "auth": new_spki(), "svc": 1, "host": host, "port": port}


def new_job() -> bytes:
    return os.urandom(16)
