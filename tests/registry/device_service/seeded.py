"""RSA keys from a seed, for vectors that anybody can make again: no private key stands in a file. For tests only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

E = 65_537
_ROUNDS = 20
# How far from the seed's number the first prime is. It follows from the seed, and looking for it takes seconds; the
# vectors that were made with the keys do not hold if one of these is wrong.
_FIRST = {
    "cloud p": 1178, "cloud q": 322, "small p": 56, "small q": 510, "large p": 1026, "large q": 3594, "other p": 342,
    "other q": 564,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rsa:
    """A key as numbers: what it does here is done with them alone."""

    p: int
    q: int

    @property
    def n(self) -> int:
        return self.p * self.q

    @property
    def size(self) -> int:
        return self.n.bit_length() // 8

    def private(self, value: bytes) -> bytes:
        """By the Chinese remainder theorem (RFC 8017 §5.1.2)."""
        found, d = int.from_bytes(value), pow(E, -1, (self.p - 1) * (self.q - 1))
        by_p, by_q = (pow(found % each, d % (each - 1), each) for each in (self.p, self.q))
        return (by_q + (by_p - by_q) * pow(self.q, -1, self.p) % self.p * self.q).to_bytes(self.size)

    def public(self, value: bytes) -> bytes:
        return pow(int.from_bytes(value), E, self.n).to_bytes(self.size)

    @property
    def key(self) -> rsa.RSAPrivateKey:
        d = pow(E, -1, (self.p - 1) * (self.q - 1))
        numbers = rsa.RSAPublicNumbers(E, self.n)
        return rsa.RSAPrivateNumbers(
            self.p, self.q, d, rsa.rsa_crt_dmp1(d, self.p), rsa.rsa_crt_dmq1(d, self.q),
            rsa.rsa_crt_iqmp(self.p, self.q), numbers,
        ).private_key()  # fmt: skip

    @property
    def spki(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def stream(seed: str, size: int) -> bytes:
    """So many bytes that follow from the seed: SHA-256 over it and a counter."""
    blocks = (hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(-(-size // 32)))
    return b"".join(blocks)[:size]


@cache
def seeded(seed: str, bits: int) -> Rsa:
    """The key of this seed."""
    p, q = (_prime(f"{seed} {name}", bits // 2) for name in "pq")
    return Rsa(p, q)


def _prime(seed: str, bits: int) -> int:
    """The first prime from the seed's number on; its two highest bits are set, so that two make a whole modulus."""
    found = (int.from_bytes(stream(seed, bits // 8)) | 3 << (bits - 2) | 1) + _FIRST.get(seed, 0)
    while not _is_prime(found, seed) or found % E == 1:
        found += 2
    return found


def _is_prime(n: int, seed: str) -> bool:
    """Miller-Rabin, with bases that follow from the seed."""
    if any(n % each == 0 for each in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return False
    twos = ((n - 1) & -(n - 1)).bit_length() - 1
    for number in range(_ROUNDS):
        x = pow(int.from_bytes(stream(f"{seed} base {number}", n.bit_length() // 8)) % (n - 3) + 2, (n - 1) >> twos, n)
        if x in {1, n - 1}:
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True
