"""The service's key: what it begins with, and with what it does not; and the real signer behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm.client import HandshakeClient
from hsm.signer import SignerUnavailableError
from registry.device_service.udp.gnutls import library as module
from registry.device_service.udp.gnutls.credentials import Credentials, CredentialsError
from registry.device_service.udp.gnutls.library import GnuTlsError, Library, LibraryError
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import SessionError
from tests.hsm.conftest import make_signer_dir
from tests.hsm.test_service import public, serving, write_root
from tests.registry.device_service.dtls_client import CERTIFICATE, RAW, Client, spki_of
from tests.registry.device_service.service_end import Meeting, Service, Signer, new_key


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.load()


def test_it_asks_the_signer_three_times_before_the_first_device(library: Library) -> None:
    signer = Signer()
    Credentials(library, spki_of(signer.key), signer.sign)
    assert signer.asked == 3


def test_a_signer_with_another_key_is_noticed_at_once(library: Library) -> None:
    with pytest.raises(CredentialsError, match="does not sign for this public key"):
        Credentials(library, spki_of(new_key()), Signer().sign)


def test_a_signer_that_is_away_at_the_start_is_the_cause(library: Library) -> None:
    def away(_: bytes) -> bytes:
        raise SignerUnavailableError("planted")

    with pytest.raises(CredentialsError, match="is it up") as caught:
        Credentials(library, spki_of(new_key()), away)
    assert isinstance(caught.value.__cause__, SignerUnavailableError)


KEYS: dict[str, Callable[[], bytes]] = {
    "RSA": lambda: _der(rsa.generate_private_key(65537, 2048).public_key()),
    "P-384": lambda: _der(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "Ed25519": lambda: _der(ed25519.Ed25519PrivateKey.generate().public_key()),
    "nothing": lambda: b"",
    "no DER": lambda: b"\x30\x59" + bytes(89),
    "cut short": lambda: spki_of(new_key())[:-1],
}


def _der(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", KEYS)
def test_other_keys_are_refused(library: Library, kind: str) -> None:
    with pytest.raises(CredentialsError):
        Credentials(library, KEYS[kind](), Signer().sign)


def test_a_library_that_is_not_here_or_too_old_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST", "99.0.0")
    with pytest.raises(LibraryError, match=r"older than .*apt-get install libgnutls30"):
        Library.load()
    for other in ("libgnutls-that-is-not-here.so.30", "libc.so.6"):
        monkeypatch.setattr(module, "NAME", other)
        with pytest.raises(LibraryError, match=r"cannot be used .*apt-get install libgnutls30"):
            Library.load()


def test_errors_say_which_function_and_what(library: Library) -> None:
    with pytest.raises(GnuTlsError, match=r"gnutls_priority_set_direct: .*request is invalid") as caught:
        library.must("gnutls_priority_set_direct", library.new("gnutls_init", 1), b"nonsense", None)
    assert caught.value.code == -50


@pytest.mark.timeout(60)  # makes an RSA key in SoftHSM and starts three processes
def test_the_real_signer_signs_handshakes(short_dir: Path) -> None:
    """SoftHSM in the signer's process, its socket, its verb; and what a device is told when it is gone."""
    directory = make_signer_dir(short_dir / "c", "cloud", "reg-01")
    keys, root = public(directory), short_dir / "root.json"
    write_root(root, public(make_signer_dir(short_dir / "f", "factory", "st-01")), keys["receipt"])
    service = Service()
    client = HandshakeClient(directory / "run" / "signer.sock")
    with serving(directory, root):
        service.credentials = Credentials(service.library, keys["cloud-udp"], client.dtls_sign)
        for kind in (RAW, CERTIFICATE):
            device = Client(service.device, kind=kind, cloud=keys["cloud-udp"])
            assert Meeting(device, service.session(device)).run().through
    with pytest.raises(SessionError) as caught:
        service.session(Client(service.device))
    assert caught.value.reason is Reason.NOT_SIGNED
    assert isinstance(caught.value.__cause__, SignerUnavailableError)
    client.close()
