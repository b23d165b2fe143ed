"""A registry process for tests: the real server, its receipts signed in memory.

Arguments: directory, root, key, port, and time limits that are to be others (`HEAD_TIMEOUT_S=0.5`).

While the file `signer-down` is in the directory the signer does not answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm.signer import SignerUnavailableError
from registry import connection, serving
from registry.serving import run
from registry.settings import Home
from registry.startup import load_root
from tests.registry.make import SoftwareReceiptSigner


def main(directory: Path, root: Path, key_file: Path, port: int) -> None:
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def before() -> None:
        if (directory / "signer-down").exists():
            raise SignerUnavailableError("planted: the signer does not answer")

    signer = SoftwareReceiptSigner(load_root(root), key, before=before)
    run(Home.load(directory), root, signer, ("127.0.0.1", port), lambda text: print(text, file=sys.stderr, flush=True))


def set_limits(limits: list[str]) -> None:
    for name, _, value in (each.partition("=") for each in limits):
        module = connection if hasattr(connection, name) else serving
        assert hasattr(module, name)
        setattr(module, name, float(value))


if __name__ == "__main__":
    set_limits(sys.argv[5:])
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
