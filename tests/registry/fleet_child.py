"""One of several registry processes for tests: the real server, receipts and leases signed in memory.

Arguments: directory, root, receipt key, lease key or `-`, port; `UNSAFE` takes any database server, as a planted fault.
"""

from __future__ import annotations

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


def main(directory: Path, root: Path, receipt_key: Path, lease_key: str, port: int) -> None:
    lease = None if lease_key == "-" else loaded(Path(lease_key))
    signer = SoftwareReceiptSigner(load_root(root), loaded(receipt_key), lease_key=lease)
    serving.ReceiptClient = lambda *_args, **_options: signer
    run(Home.load(directory), root, signer, ("127.0.0.1", port), lambda text: print(text, file=sys.stderr, flush=True))


def loaded(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


if __name__ == "__main__":
    logging.basicConfig(level=logging.CRITICAL)
    if "UNSAFE" in sys.argv:
        postgres.problem = lambda _answer: None
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
