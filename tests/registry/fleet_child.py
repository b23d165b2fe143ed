"""One of several registry processes for tests: the real server, receipts and leases signed in memory.

`--unsafe` takes any database server, as a planted fault.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from registry import postgres, serving
from registry.serving import run
from registry.settings import Home
from registry.startup import load_root
from tests.registry.make import SoftwareReceiptSigner


def main(given: argparse.Namespace) -> None:
    lease = None if given.lease_key is None else loaded(given.lease_key)
    signer = SoftwareReceiptSigner(load_root(given.root), loaded(given.receipt_key), lease_key=lease)
    serving.ReceiptClient = lambda *_args, **_options: signer
    if given.unsafe:
        postgres.problem = lambda _answer: None
    address = ("127.0.0.1", given.port)
    run(Home.load(given.dir), given.root, signer, address, lambda text: print(text, file=sys.stderr, flush=True))


def loaded(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("dir", "root", "receipt-key", "lease-key"):
        parser.add_argument(f"--{name}", type=Path, required=name != "lease-key")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--unsafe", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    main(arguments())
