"""Peers that are not ours: gnutls-cli with raw keys and with certificates, and libcoap's client, over a real socket."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
)

from registry.device_service.udp.gnutls.endpoint import Presented
from registry.device_service.udp.reasons import Reason
from registry.device_service.udp.session import Suite
from tests.registry.device_service.doorway import Doorway, each_loses_another, open_doorway
from tests.registry.device_service.dtls_client import CERTIFICATE, PRIORITY, RAW, self_signed, spki_of
from tests.registry.device_service.service_end import ID, Service, new_key

KINDS = {RAW: Presented.RAW_KEY, CERTIFICATE: Presented.CERTIFICATE}


@pytest.fixture(autouse=True)
def installed() -> None:
    for tool in ("gnutls-cli", "coap-client-gnutls"):
        assert shutil.which(tool) is not None, f"{tool} is not installed: see setup/packages-base.txt"


@pytest.fixture
def service() -> Service:
    return Service()


def pem(spki: bytes) -> bytes:
    return load_der_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def device_files(place: Path, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """A device's key, public key and certificate, as files."""
    place.mkdir(exist_ok=True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made = {
        "key": private,
        "public": pem(spki_of(key)),
        "both": private + pem(spki_of(key)),
        "certificate": self_signed(key),
        "certificate-pem": x509.load_der_x509_certificate(self_signed(key)).public_bytes(Encoding.PEM),
        "der": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    }
    for name, content in made.items():
        (place / name).write_bytes(content)
    return {name: str(place / name) for name in made}


def start(
    doorway: Doorway, where: dict[str, str], kind: str, *more: str, cipher: str = "AES-128-CCM-8"
) -> subprocess.Popen[str]:
    shown = (
        ["--rawpkkeyfile", where["key"], "--rawpkfile", where["public"]]
        if kind == RAW
        else ["--x509fmtder", "--x509keyfile", where["der"], "--x509certfile", where["certificate"]]
    )
    words = ["--priority", PRIORITY.format(cipher=cipher, kind=kind), "--insecure", "--no-ca-verification", *more]
    command = ["gnutls-cli", "--udp", "-p", str(doorway.port), "127.0.0.1", *shown, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def left(process: subprocess.Popen[str], word: str) -> str:
    """Wait for the word's echo, leave; everything that was printed."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.strip() == word:
            break
    rest, _ = process.communicate(timeout=10)
    return "".join(said) + rest


def talk(process: subprocess.Popen[str], word: str) -> str:
    """Say a word, wait for its echo, leave."""
    say(process, word)
    return left(process, word)


@pytest.mark.parametrize("cipher", ["AES-128-CCM-8", "AES-128-GCM"])
@pytest.mark.parametrize("kind", KINDS)
def test_gnutls_cli_comes_in_and_is_who_it_is(service: Service, tmp_path: Path, kind: str, cipher: str) -> None:
    with open_doorway(service) as doorway:
        process = start(doorway, device_files(tmp_path, service.device), kind, cipher=cipher)
        said = talk(process, "hello-from-outside")
        assert process.returncode == 0, said
    assert re.search(rf"\(DTLS1\.2.*\)-\(ECDHE-SECP256R1\)-\(ECDSA-SHA256\)-\({cipher}\)", said), said
    assert doorway.heard == [b"hello-from-outside\n"]
    (peer,) = doorway.peers
    assert (peer.device_id, peer.spki, peer.presented) == (ID, spki_of(service.device), KINDS[kind])
    assert peer.suite is (Suite.GCM if "GCM" in cipher else Suite.CCM_8)
    assert (doorway.opened, doorway.ends) == (1, [Reason.CLOSED])


@pytest.mark.parametrize("kind", KINDS)
def test_gnutls_cli_with_a_key_that_nobody_pinned_is_refused(service: Service, tmp_path: Path, kind: str) -> None:
    with open_doorway(service) as doorway:
        process = start(doorway, device_files(tmp_path, new_key()), kind)
        said, _ = process.communicate("x", timeout=10)
    assert process.returncode != 0
    assert "Certificate is bad" in said, said
    assert (doorway.peers, doorway.heard, doorway.ends) == ([], [], [Reason.NOT_PINNED])


def test_gnutls_cli_does_not_resume(service: Service, tmp_path: Path) -> None:
    with open_doorway(service) as doorway:
        process = start(doorway, device_files(tmp_path, service.device), RAW, "--resume")
        said = talk(process, "resumed-or-not")
    assert "This is a resumed session" not in said, said
    assert (len(doorway.peers), service.pins.asked, service.signer.asked) == (2, 2, 2), "all of it anew"


def coap_answer(message: bytes) -> bytes:
    """2.05 with a text to any request, in its acknowledgement (RFC 7252 §3)."""
    token = message[4 : 4 + (message[0] & 15)]
    return bytes([0x60 | len(token), 0x45]) + message[2:4] + token + b"\xffhello device"


def coap(doorway: Doorway, where: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    command = ["coap-client-gnutls", "-B", "6", "-m", "get", *more, f"coaps://127.0.0.1:{doorway.port}/time"]
    return subprocess.run(
        [each.format(**where) for each in command], capture_output=True, text=True, check=False, timeout=15
    )


@pytest.mark.parametrize(
    ("more", "presented"),
    [
        (("-M", "{both}"), Presented.RAW_KEY),
        (("-n", "-j", "{key}", "-c", "{certificate-pem}"), Presented.CERTIFICATE),  # -n: it knows no root
    ],
    ids=["raw key", "certificate"],
)
def test_libcoap_s_client_gets_its_answer(
    service: Service, tmp_path: Path, more: tuple[str, ...], presented: Presented
) -> None:
    with open_doorway(service, coap_answer) as doorway:
        done = coap(doorway, device_files(tmp_path, service.device), *more)
    assert done.stdout.strip() == "hello device", (done, doorway)
    assert [(peer.device_id, peer.presented) for peer in doorway.peers] == [(ID, presented)]


def test_libcoap_s_client_without_a_pin_gets_none(service: Service, tmp_path: Path) -> None:
    with open_doorway(service, coap_answer) as doorway:
        done = coap(doorway, device_files(tmp_path, new_key()), "-M", "{both}")
    assert "hello" not in done.stdout
    assert doorway.peers == [] and set(doorway.ends) == {Reason.NOT_PINNED}


def test_one_socket_many_clients_and_each_loses_another_datagram(service: Service, tmp_path: Path) -> None:
    """Each hears its own echo, whatever becomes of the others' datagrams."""
    keys = [new_key() for _ in range(6)]
    service.pins.known.update({spki_of(key): ID for key in keys})
    with open_doorway(service) as doorway:
        doorway.link = each_loses_another()
        places = [device_files(tmp_path / str(number), key) for number, key in enumerate(keys)]
        processes = [start(doorway, place, list(KINDS)[number % 2]) for number, place in enumerate(places)]
        for number, process in enumerate(processes):
            say(process, f"word-{number}")
        for number, process in enumerate(processes):
            assert f"word-{number}" in left(process, f"word-{number}")
    assert {peer.spki for peer in doorway.peers} == {spki_of(key) for key in keys}
    assert doorway.opened == len(keys)
