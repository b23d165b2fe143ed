"""The UDP client against a service that is not ours: GnuTLS's own server, which echoes, with raw keys and with certificates."""

import contextlib
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.firmware.machine import Device, native_command, powered
from tests.firmware.signatures import new_anchor
from tests.firmware.test_udp_tunnel import Unit, flash, opened, unit
from tests.firmware.tunnelling import ESTABLISHED, NOT_TRUSTED, RUNNING
from tests.registry.device_service.dtls_client import RAW, self_signed

__all__ = ["flash", "unit"]
KINDS = {"native": RAW, "certified": "X509"}
PRIORITY = "NONE:+VERS-DTLS1.2:+ECDHE-ECDSA:+AES-128-CCM-8:+AEAD:+SIGN-ECDSA-SHA256:+GROUP-SECP256R1:+COMP-NULL"


@pytest.fixture(params=KINDS)
def form(request: pytest.FixtureRequest) -> str:
    return request.param


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def echoing(place: Path, key: ec.EllipticCurvePrivateKey, kind: str) -> Iterator[socket.socket]:
    """GnuTLS's server with this key, and a socket to it."""
    private = place / "key"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public, certificate = place / "public", place / "certificate"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    certificate.write_bytes(x509.load_der_x509_certificate(self_signed(key)).public_bytes(Encoding.PEM))
    raw = ["--rawpkkeyfile", private, "--rawpkfile", public]
    shown = raw if kind == RAW else ["--x509keyfile", private, "--x509certfile", certificate]
    port, priority = free_port(), f"{PRIORITY}:+CTYPE-SRV-{kind}:+CTYPE-CLI-{kind}"
    command = [
        "gnutls-serv",
        "--udp",
        "--echo",
        "--require-client-cert",
        f"--port={port}",
        f"--priority={priority}",
        *shown,
    ]
    with (place / "log").open("w") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.connect(("127.0.0.1", port))
            yield line
    finally:
        server.terminate()
        server.wait(5)


def met(device: Device, line: socket.socket) -> dict:
    """The device's last answer, which is not that it is running."""
    step, datagram = opened(device), b""
    for _ in range(200):
        answer = step(datagram)
        with contextlib.suppress(ConnectionRefusedError):  # the server is not up yet
            if answer["out"]:
                line.send(answer["out"])
        if answer["st"] != RUNNING:
            return answer
        datagram = b""
        if select.select([line], [], [], 0.1)[0]:
            with contextlib.suppress(ConnectionRefusedError):
                datagram = line.recv(2048)
    raise AssertionError("it comes to no end")


@pytest.mark.timeout(60)
def test_a_stock_server_is_met_by_its_key_alone(
    request: pytest.FixtureRequest, form: str, flash: Path, unit: Unit, tmp_path: Path
) -> None:
    assert shutil.which("gnutls-serv") is not None, "gnutls-serv is not installed: see setup/packages-base.txt"
    with (
        powered(native_command(request.getfixturevalue(form), flash)) as device,
        echoing(tmp_path, unit.cloud.signer.key, KINDS[form]) as line,
    ):
        device.client.write_anchor(new_anchor())
        assert met(device, line)["why"] == NOT_TRUSTED
        device.client.write_anchor({**new_anchor(), "cloud": unit.cloud.spki})
        assert met(device, line)["st"] == ESTABLISHED, "its own Hello comes back"
    log = (tmp_path / "log").read_bytes()
    assert b"A TLS fatal alert has been received" in log, "of the first"
    assert b"Processing 9 bytes command: @\x02" in log, "of the second; it echoes up to the first zero"
