"""The device's side by mbedTLS 3.6 as it is, which the reference firmware is made of: a self-signed certificate, pins."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from registry.device_service.udp.gnutls.endpoint import Presented, Timing
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import Suite
from tests.registry.device_service.doorway import each_loses_another, open_doorway
from tests.registry.device_service.dtls_client import self_signed, spki_of
from tests.registry.device_service.service_end import ID, Service, new_key

HERE = Path(__file__).parent
MBEDTLS = HERE.parents[2] / "fixtures" / "firmware" / "build" / "mbedtls"
SOURCES = (
    "aes asn1parse asn1write bignum bignum_core bignum_mod bignum_mod_raw block_cipher ccm cipher cipher_wrap "
    "constant_time ctr_drbg ecdh ecdsa ecp ecp_curves ecp_curves_new entropy entropy_poll md net_sockets oid pk pk_ecc "
    "pk_wrap pkparse platform platform_util sha256 ssl_ciphersuites ssl_client ssl_debug_helpers_generated ssl_msg "
    "ssl_tls ssl_tls12_client timing x509 x509_crt"
)
pytestmark = pytest.mark.xdist_group("mbedtls")  # compiled once


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, compiled."""
    if not (MBEDTLS / "FETCHED").is_file():
        pytest.skip("the source of mbedTLS is not here: make setup-dev fetches it")
    made = tmp_path_factory.mktemp("mbedtls")
    included = [f"-I{MBEDTLS}/include", f"-I{MBEDTLS}/library", f"-I{HERE}"]
    configured = [*included, '-DMBEDTLS_CONFIG_FILE="mbedtls_client_config.h"', "-O1", "-Wall"]
    sources = [MBEDTLS / "library" / f"{name}.c" for name in SOURCES.split()]
    half = len(sources) // 2
    parts = [subprocess.Popen(["gcc", "-c", *configured, *each], cwd=made) for each in (sources[:half], sources[half:])]
    assert [each.wait(60) for each in parts] == [0, 0]
    strict = ["-Wextra", "-Werror", "-o", "client", HERE / "mbedtls_client.c"]
    subprocess.run(["gcc", *configured, *strict, *made.glob("*.o")], cwd=made, check=True, timeout=30)
    return made / "client"


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def start(program: Path, tmp_path: Path, service: Service) -> Start:
    """Starts the device `key`, that shows the certificate of `shows`, at the port."""

    def started(
        port: int,
        key: ec.EllipticCurvePrivateKey,
        *,
        shows: ec.EllipticCurvePrivateKey,
        pin: bytes = b"",
        mtu: int = 800,
    ) -> subprocess.Popen[str]:
        place = Path(tempfile.mkdtemp(dir=tmp_path))
        (place / "key").write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        (place / "certificate").write_bytes(self_signed(shows))
        (place / "pin").write_bytes(pin or spki_of(service.signer.key))
        files = [place / name for name in ("key", "certificate", "pin")]
        command = [program, str(port), *files, str(mtu)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return started


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=15)[0].strip()


@pytest.mark.timeout(60)  # the first one compiles
@pytest.mark.parametrize("mtu", [800, 300])
def test_mbedtls_comes_in_by_its_pin(service: Service, start: Start, mtu: int) -> None:
    with open_doorway(service, timing=Timing()) as doorway:
        process = start(doorway.port, service.device, shows=service.device, mtu=mtu)
        assert said(process) == "TLS-ECDHE-ECDSA-WITH-AES-128-CCM-8: hello"
        assert doorway.wait(lambda: doorway.ends == [Reason.CLOSED])
    (peer,) = doorway.peers
    assert (peer.device_id, peer.presented, peer.suite) == (ID, Presented.CERTIFICATE, Suite.CCM_8)
    if mtu == 800:
        assert doorway.count == {"up": 5, "down": 5}, "two hellos, flight, message, close; as many down"


@pytest.mark.parametrize(
    ("who", "error", "reason"),
    [
        ("another cloud key is pinned", "-0x2700", Reason.REFUSED_BY_DEVICE),
        ("a device that nobody pinned", "-0x7780", Reason.NOT_PINNED),
        ("another's certificate", "-0x7780", Reason.BAD_SIGNATURE),
    ],
)
def test_mbedtls_is_refused_or_refuses(service: Service, start: Start, who: str, error: str, reason: Reason) -> None:
    stranger = new_key()
    key = service.device if who.startswith("another cloud") else stranger
    shows = service.device if who.startswith("another") else stranger
    with open_doorway(service) as doorway:
        pin = spki_of(new_key()) if who.startswith("another cloud") else b""
        process = start(doorway.port, key, shows=shows, pin=pin)
        assert (said(process), process.returncode) == (f"handshake {error}", 1)
        assert doorway.wait(lambda: bool(doorway.ends))
    assert (doorway.ends, doorway.peers, doorway.heard) == ([reason], [], [])


def test_mbedtls_gets_through_whichever_datagram_is_lost(service: Service, start: Start) -> None:
    """Six devices at once; each loses another of the six datagrams of a handshake, the last of ours too."""

    with open_doorway(service) as doorway:
        doorway.link = each_loses_another()
        processes = [start(doorway.port, service.device, shows=service.device) for _ in range(6)]
        assert [said(each)[-5:] for each in processes] == ["hello"] * 6
    assert len(doorway.peers) == doorway.opened == 6
