"""What of TLS the registry refuses: old versions, ciphers without forward secrecy or authenticated encryption."""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest

from tests.registry.running import Plant, connect, running


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


@contextmanager
def old_server(plant: Plant) -> Iterator[int]:
    """The port of a TLS server with the registry's certificate that takes whatever a client speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(plant.directory / "tls.crt", plant.directory / "tls.key")
    context.set_ciphers("ALL:eNULL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as thread:

        def shake() -> None:
            with suppress(OSError):
                context.wrap_socket(listening.accept()[0], server_side=True).close()

        thread.submit(shake)
        yield listening.getsockname()[1]


OLD: dict[str, tuple[ssl.TLSVersion, str]] = {
    "TLS 1.0": (ssl.TLSVersion.TLSv1, "DEFAULT"),
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "DEFAULT"),
    "CBC": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-SHA384"),
    "SHA-1": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA"),
    "no encryption": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-NULL-SHA"),
    "nobody's certificate": (ssl.TLSVersion.TLSv1_2, "AECDH-AES128-SHA"),
    "CCM with a short tag": (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-CCM8"),
}


def old_client(plant: Plant, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=plant.tls_root)
    context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("what", OLD)
def test_old_tls_is_refused(what: str, plant: Plant) -> None:
    """The control: a server that takes everything takes this client, too."""
    context = old_client(plant, *OLD[what])
    with pytest.raises(ssl.SSLError):
        connect(plant, context)
    with old_server(plant) as port, socket.create_connection(("127.0.0.1", port), timeout=5) as line:
        context.wrap_socket(line, server_hostname="localhost").close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_taken_with_forward_secrecy(version: ssl.TLSVersion, plant: Plant) -> None:
    with connect(plant, old_client(plant, version, "ALL")) as line:
        name, _, bits = line.cipher() or ("", "", 0)
        assert bits >= 128 and ("GCM" in name or "CHACHA20" in name) and name.startswith(("ECDHE", "TLS_"))
