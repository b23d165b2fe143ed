"""Signed notes and checkpoints: published answers, both key types, OpenSSL as second opinion, and malformed ones refused."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from trust.merkle import EMPTY_ROOT, leaf_hash
from trust.signed_note import (
    MAX_SIGNATURES,
    Checkpoint,
    NoteError,
    NoteKey,
    assemble,
    checkpoint_text,
    open_note,
    parse_checkpoint,
    sign_line,
    verify,
)

ORIGIN = "demo/station-01/log"
ROOT = leaf_hash(b"root")
# A published note and its verifier key: the one in the documentation of Go's sumdb/note package.
KNOWN_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
KNOWN_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
KNOWN_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The public log key of Rekor v1 and the key id its checkpoints carry.
REKOR = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwr"
    "kBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw=="
)
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")

Sign = Callable[[str], bytes]


def spki_of(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ecdsa() -> tuple[bytes, Sign]:
    key = ec.generate_private_key(ec.SECP256R1())
    return spki_of(key), lambda text: key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))


def edwards() -> tuple[bytes, Sign]:
    key = ed25519.Ed25519PrivateKey.generate()
    return spki_of(key), lambda text: key.sign(text.encode())


@pytest.fixture(params=[ecdsa, edwards], ids=["ecdsa", "ed25519"])
def signer(request: pytest.FixtureRequest) -> tuple[bytes, Sign]:
    made: tuple[bytes, Sign] = request.param()
    return made


def signed(signer: tuple[bytes, Sign], size: int = 7, name: str = ORIGIN) -> str:
    spki, sign = signer
    text = checkpoint_text(ORIGIN, size, ROOT)
    return assemble(text, sign_line(name, spki, sign(text)))


def test_a_published_note_opens() -> None:
    spki = ED25519_SPKI + base64.b64decode(KNOWN_VKEY.rpartition("+")[2])[1:]
    assert NoteKey("PeterNeumann", spki).vkey == KNOWN_VKEY
    assert open_note(f"{KNOWN_TEXT}\n{KNOWN_LINE}", NoteKey("PeterNeumann", spki)) == KNOWN_TEXT
    with pytest.raises(NoteError, match="does not verify"):
        open_note(f"{KNOWN_TEXT.replace('think', 'know')}\n{KNOWN_LINE}", NoteKey("PeterNeumann", spki))


def test_the_key_id_of_a_public_ecdsa_log() -> None:
    assert NoteKey("rekor.sigstore.dev", base64.b64decode(REKOR)).key_id.hex() == "c0d23d6a"


def test_a_checkpoint_comes_back(signer: tuple[bytes, Sign]) -> None:
    assert verify(signed(signer), ORIGIN, signer[0]) == Checkpoint(origin=ORIGIN, size=7, root_hash=ROOT)


def test_the_text_is_three_lines() -> None:
    assert checkpoint_text(ORIGIN, 70000, ROOT) == f"{ORIGIN}\n70000\n{base64.b64encode(ROOT).decode()}\n"
    assert checkpoint_text(ORIGIN, 0, EMPTY_ROOT).split("\n")[1] == "0"


def test_the_verifier_key_names_its_type() -> None:
    for make, kind in [(ecdsa, 2), (edwards, 1)]:
        spki, _ = make()
        name, key_id, material = NoteKey("log", spki).vkey.split("+", 2)
        assert (name, len(key_id), base64.b64decode(material)[0]) == ("log", 8, kind)


def test_another_key_is_refused(signer: tuple[bytes, Sign]) -> None:
    for make in (ecdsa, edwards):
        with pytest.raises(NoteError, match="no signature by"):
            verify(signed(signer), ORIGIN, make()[0])


def test_lines_of_unknown_keys_are_ignored(signer: tuple[bytes, Sign]) -> None:
    text = checkpoint_text(ORIGIN, 7, ROOT)
    strange = [sign_line(f"witness.example/{each}", ecdsa()[0], b"not a signature") for each in range(15)]
    note = assemble(text, *strange, sign_line(ORIGIN, signer[0], signer[1](text)))
    assert verify(note, ORIGIN, signer[0]).size == 7


def test_one_bad_signature_of_the_key_refuses_the_note(signer: tuple[bytes, Sign]) -> None:
    text = checkpoint_text(ORIGIN, 7, ROOT)
    good = sign_line(ORIGIN, signer[0], signer[1](text))
    bad = sign_line(ORIGIN, signer[0], signer[1]("another text\n"))
    for lines in [(good, bad), (bad, good), (bad,)]:
        with pytest.raises(NoteError, match="does not verify"):
            verify(assemble(text, *lines), ORIGIN, signer[0])


def test_every_changed_byte_of_the_text_is_refused(signer: tuple[bytes, Sign]) -> None:
    note = signed(signer)
    for at in range(note.index("\n\n")):
        changed = note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]
        with pytest.raises(NoteError):
            verify(changed, ORIGIN, signer[0])


def test_a_key_of_the_name_may_not_speak_for_another_log(signer: tuple[bytes, Sign]) -> None:
    with pytest.raises(NoteError, match="expected 'other/log'"):
        verify(signed(signer, name="other/log"), "other/log", signer[0])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n7\n{base64.b64encode(ROOT).decode()}",
        f"{ORIGIN}\n7\n{base64.b64encode(ROOT).decode()}\nextension\n",
        f"{ORIGIN}\n07\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n-7\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n+7\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n\u0667\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n{2**63}\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n0\n{base64.b64encode(ROOT).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(ROOT[:31]).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(ROOT).decode().rstrip('=')}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(ROOT).decode().replace('=', 'x')}\n",
        f"{ORIGIN}\n7\n {base64.b64encode(ROOT).decode()}\n",
        f"demo station\n7\n{base64.b64encode(ROOT).decode()}\n",
        f"\n7\n{base64.b64encode(ROOT).decode()}\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


def test_base64_has_one_spelling() -> None:
    text = checkpoint_text(ORIGIN, 7, ROOT)
    # 32 bytes leave two spare bits in the last digit: another digit decodes to the same bytes
    root = base64.b64encode(ROOT).decode()
    spelled = root[:-2] + chr(ord(root[-2]) + 1) + "="
    assert base64.b64decode(spelled) == ROOT
    with pytest.raises(NoteError, match="root hash"):
        parse_checkpoint(text.replace(root, spelled))


@pytest.mark.parametrize(
    "damage",
    [
        lambda note: note.removesuffix("\n"),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note + "\n",
        lambda note: note.replace("— ", "- "),
        lambda note: note.replace("— ", "—"),
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note.replace("7", "7\x00"),
        lambda note: note + "— only-a-name\n",
        lambda note: note + f"— name {base64.b64encode(b'four').decode()}\n",
        lambda note: note + f"— na+me {base64.b64encode(b'four+more').decode()}\n",
        lambda note: note + "— name not base64!\n",
        lambda note: note + "— \ud800 AAAAAAAA\n",
        lambda note: note + f"— name {base64.b64encode(bytes(9)).decode()}\n" * MAX_SIGNATURES,
        lambda note: note + f"— name {base64.b64encode(bytes(130_000)).decode()}\n",
        lambda note: note.partition("\n\n")[0] + "\n\n",
        lambda _: "",
        lambda _: "\n\n",
    ],
)
def test_malformed_notes_are_refused(damage: Callable[[str], str]) -> None:
    signer = ecdsa()
    note = signed(signer)
    assert verify(note, ORIGIN, signer[0]).size == 7
    with pytest.raises(NoteError):
        verify(damage(note), ORIGIN, signer[0])


@given(st.text(max_size=300))
def test_any_text_is_answered_by_a_note_error(text: str) -> None:
    key = NoteKey("log", base64.b64decode(REKOR))
    for note in (text, f"{text}\n\n— log {text}\n"):
        with pytest.raises(NoteError):
            open_note(note, key)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\tb", "a\nb"])
def test_names_that_the_format_cannot_carry(name: str) -> None:
    with pytest.raises(NoteError, match="key name"):
        NoteKey(name, base64.b64decode(REKOR))


def test_keys_of_other_types_are_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        with pytest.raises(NoteError, match="Ed25519 or EC P-256"):
            NoteKey("log", spki_of(key))
    with pytest.raises(NoteError, match="not a DER"):
        NoteKey("log", b"\x30\x00")
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed
    with pytest.raises(NoteError, match="canonical"):
        NoteKey("log", spki)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="not installed: openssl")
def test_openssl_accepts_the_ecdsa_line(tmp_path: Path) -> None:
    spki, sign = ecdsa()
    note = signed((spki, sign))
    text, _, line = note.partition("\n\n")
    (tmp_path / "text").write_text(text + "\n")
    (tmp_path / "sig").write_bytes(base64.b64decode(line.split(" ")[2])[4:])
    (tmp_path / "key").write_bytes(spki)
    command = ["openssl", "dgst", "-sha256", "-verify", "key", "-keyform", "DER", "-signature", "sig", "text"]
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "text").write_text(text + "x\n")
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode != 0
