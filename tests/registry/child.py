"""A registry process for tests: the real server, its receipts signed in memory.

Arguments: directory, root, key, port, and time limits that are to be others (`HEAD_TIMEOUT_S=0.5`); `METRICS=HOST` serves
telemetry there, `LEAK=1` plants one: routes are told by the path that was asked.

While the file `signer-down` is in the directory the signer does not answer; with `signer-bug` it has a bug, whose text is
the file's; with `signer-mute` its status is not told.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm.signer import SignerStatus, SignerUnavailableError
from registry import connection, serving
from registry.serving import run
from registry.settings import Home
from registry.startup import load_root
from registry.telemetry import diagnostics, watching
from tests.registry.make import SoftwareReceiptSigner


def main(directory: Path, root: Path, key_file: Path, port: int, metrics: str | None = None) -> None:
    key = load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    def before() -> None:
        if (directory / "signer-down").exists():
            raise SignerUnavailableError("planted: the signer does not answer")
        if (bug := directory / "signer-bug").exists():
            raise RuntimeError(bug.read_text())

    signer = SoftwareReceiptSigner(load_root(root), key, before=before)

    class Told(SoftwareReceiptSigner):
        def status(self) -> SignerStatus:
            if (directory / "signer-mute").exists():
                raise SignerUnavailableError("planted: the signer says nothing of itself")
            return super().status()

    serving.ReceiptClient = lambda *_args, **_options: Told(signer.trusted, key)
    diagnostics.set_up()
    run(
        Home.load(directory), root, signer, ("127.0.0.1", port), lambda text: print(text, file=sys.stderr, flush=True),
        telemetry=None if metrics is None else (metrics, 0),
    )  # fmt: skip


def set_limits(limits: list[str]) -> None:
    for name, _, value in (each.partition("=") for each in limits):
        if name in {"METRICS", "LEAK"}:
            continue
        module = connection if hasattr(connection, name) else serving
        assert hasattr(module, name)
        setattr(module, name, float(value))


if __name__ == "__main__":
    set_limits(sys.argv[5:])
    if "LEAK=1" in sys.argv:
        watching.declared = lambda scope: scope["path"]
    told = next((each.partition("=")[2] for each in sys.argv if each.startswith("METRICS=")), None)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), told)
