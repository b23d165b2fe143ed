"""What the PKCS#11 module of a cloud signer can do, alone and in one thread: `python -m … DIR SECONDS`. Run while no signer is.

Prints three numbers: pairs of an RSA decryption and an RSA signature a second (what a TCP handshake costs it), ECDSA signatures
a second (what a DTLS handshake costs it), and CPU milliseconds of such a pair.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm import service
from hsm.config import SignerConfig, load


def rate(seconds: float, act: Callable[[], object]) -> tuple[float, float]:
    """How often a second, and CPU milliseconds each."""
    done, began, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        act()
        done += 1
    return done / (time.monotonic() - began), 1_000 * (time.process_time() - cpu) / done


def main(directory: Path, seconds: float) -> None:
    with ExitStack() as opened:
        made: SignerConfig = load(directory)
        token = service._token(directory, made, opened)
        rsa_label, ec_label = "cloud-tcp", "cloud-udp"
        key = load_der_public_key(token.public_key(rsa_label))
        assert isinstance(key, rsa.RSAPublicKey)
        hidden = key.encrypt(bytes(52), padding.PKCS1v15())

        def pair() -> None:
            assert token.open_rsa(rsa_label, hidden) == bytes(52)
            token.sign_rsa(rsa_label, bytes(20))

        pairs, cost = token.thread.submit(rate, seconds, pair).result()
        signatures, _ = token.thread.submit(rate, seconds, lambda: token.sign_ecdsa(ec_label, os.urandom(32))).result()
        print(f"{pairs:.0f} {signatures:.0f} {cost:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
