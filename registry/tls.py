"""The registry's own TLS key and certificate, made at `init`; and whether a certificate is the trust root's.

Never used for statements: TLS carries them, signatures make them. A site with its own CA replaces both files.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=3650)
_ALWAYS = ("localhost", "127.0.0.1")


def make_certificate(host: str, name: str) -> tuple[bytes, bytes]:
    """A fresh EC P-256 key (PKCS#8 PEM) and its certificate (PEM) for host, localhost and 127.0.0.1; ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _builder(host, name, key.public_key()).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, certificate.public_bytes(Encoding.PEM)


def trusted_by(chain_pem: bytes, root_der: bytes) -> bool:
    """Whether who trusts only this root takes the chain: it is the root itself, or its last certificate is by the root.

    Raises ValueError if either cannot be read.
    """
    chain, root = x509.load_pem_x509_certificates(chain_pem), x509.load_der_x509_certificate(root_der)
    last = chain[-1]
    if last == root:
        return True
    try:
        last.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(host: str, name: str, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + _LIFE)
    for extension, critical in _extensions(host, key):
        builder = builder.add_extension(extension, critical)
    return builder


def _extensions(host: str, key: ec.EllipticCurvePublicKey) -> list[tuple[x509.ExtensionType, bool]]:
    names = [_general_name(each) for each in dict.fromkeys((host, *_ALWAYS))]
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False),
    ]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
