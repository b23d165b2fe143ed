"""An order file and a trust root that are right, to be made wrong in one place."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trust.root import RegistryKeys, Root, StationKeys

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def order_entries() -> dict[str, str]:
    """Entry to its value as it stands in the file."""
    return {
        "order_id": '"order-1"', "product": '"lamp-1"', "product_id": "7", "key_type": '"ec-p256"',
        "origins": '["generated"]', "unproven_origin": "false", "quantity": "10", "allowance": "1",
        "family": '"smp"', "not_before": '"2026-11-01T00:00:00Z"', "not_after": '"2026-12-31T00:00:00Z"',
        "stations": "{ st-01 = { quantity = 10, allowance = 1 } }", "service": '"udp"', "host": '"udp.example"', "port": "5684",
        "firmware": f'[{{ sha256 = "{"ab" * 32}" }}]', "handshakes": '["udp"]',
        "handshake_waivers": "[]",
        "cloud_key": f'"""\n{pem(ec_key())}"""', "authority_key": f'"""\n{pem(ec_key())}"""',
    }  # fmt: skip


def order_file(entries: Mapping[str, str]) -> str:
    return "".join(f"{name} = {value}\n" for name, value in entries.items())


def root() -> Root:
    keys = {name: spki(ec_key()) for name in ("pin", "completion", "log", "client", "account")}
    return Root(
        environment="demo", version=1, registry="reg-01", registry_url="https://registry.example", tls_root=b"",
        stations={"st-01": StationKeys(**keys)}, registry_keys=RegistryKeys(receipt=spki(ec_key())),
    )  # fmt: skip
