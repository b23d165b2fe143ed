"""Signed checkpoints: C2SP `signed-note` with a `tlog-checkpoint` inside, composed and read strictly.

Two signature types: Ed25519 (`0x01`) and ECDSA P-256 with SHA-256 in DER (`0x02`); the key tells which, never the note.
Never signs: the signer composes these very bytes itself and signs them. Never knows a log's history.
Sources: C2SP signed-note and tlog-checkpoint (docs/statements.md names the versions).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from trust.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE

MAX_NOTE_BYTES = 128 * 1024
MAX_SIGNATURES = 32
_ED25519 = 0x01
_ECDSA = 0x02
_KEY_ID_BYTES = 4
_DASH = "\u2014 "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteError(ValueError):
    """Not a note that we take, or not signed as asked; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's head: who it is, how many leaves, and the root hash over them."""

    origin: str
    size: int
    root_hash: bytes


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A log's new head, to be signed: size, root hash (32 bytes), RFC 6962 consistency proof from `old_size`."""

    origin: str
    size: int
    root_hash: bytes
    old_size: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that signs notes: its name and DER SubjectPublicKeyInfo (Ed25519 or EC P-256, canonical encoding)."""

    name: str
    spki: bytes

    def __post_init__(self) -> None:
        """Refuse names that the format cannot carry and keys of other types."""
        _check_name(self.name)
        _load(self.spki)

    @property
    def _typed(self) -> bytes:
        """Signature type and key material, as a verifier key string carries them."""
        key = _load(self.spki)
        if isinstance(key, ed25519.Ed25519PublicKey):
            return bytes([_ED25519]) + key.public_bytes_raw()
        return bytes([_ECDSA]) + self.spki

    @property
    def key_id(self) -> bytes:
        """4 bytes that tell keys apart: for ECDSA a hash of the SPKI alone, for Ed25519 of name, type and key."""
        typed = self._typed
        hashed = self.spki if typed[0] == _ECDSA else self.name.encode() + b"\n" + typed
        return hashlib.sha256(hashed).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The verifier key string that other tools take (Go's checksum database): name, key id, type and key."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(self._typed)}"

    def line(self, signature: bytes) -> str:
        """The signature line, newline included."""
        return f"{_DASH}{self.name} {_base64(self.key_id + signature)}\n"

    def verifies(self, signature: bytes, text: str) -> bool:
        """Whether this is the key's signature over the text."""
        key = _load(self.spki)
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, text.encode())
            else:
                key.verify(signature, text.encode(), ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    name: str
    key_id: bytes
    signature: bytes

    @classmethod
    def parse(cls, line: str) -> Self:
        name, space, blob = line.removeprefix(_DASH).partition(" ")
        raw = _unbase64(blob)
        if not line.startswith(_DASH) or not space or raw is None or len(raw) <= _KEY_ID_BYTES:
            raise NoteError(f"malformed signature line {line[:80]!r}")
        _check_name(name)
        return cls(name=name, key_id=raw[:_KEY_ID_BYTES], signature=raw[_KEY_ID_BYTES:])


def checkpoint_text(origin: str, size: int, root_hash: bytes) -> str:
    """The text that is signed: origin, size, base64 root hash, a line each. Raises NoteError for what no log can be."""
    text = f"{origin}\n{size}\n{_base64(root_hash)}\n"
    parse_checkpoint(text)
    return text


def sign_line(name: str, spki: bytes, signature: bytes) -> str:
    """The signature line for a signature (Ed25519 raw, ECDSA in DER) by this key over the text's UTF-8 bytes."""
    return NoteKey(name, spki).line(signature)


def assemble(text: str, *lines: str) -> str:
    """The note: text, an empty line, one or more signature lines."""
    note = f"{text}\n{''.join(lines)}"
    _split(note)
    return note


def open_note(note: str, key: NoteKey) -> str:
    """The text of a note that this key signed; NoteError otherwise.

    Lines by other keys are ignored; one bad signature under the key's own name and id refuses the whole note.
    """
    text, lines = _split(note)
    own = [each for each in lines if each.name == key.name and each.key_id == key.key_id]
    if not own:
        raise NoteError(f"no signature by {key.name}+{key.key_id.hex()}")
    if not all(key.verifies(each.signature, text) for each in own):
        raise NoteError(f"the signature by {key.name}+{key.key_id.hex()} does not verify")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text: exactly three lines, one spelling each; extension lines are refused."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004 - three lines and what follows the last newline
        raise NoteError("a checkpoint has three lines: origin, size, root hash")
    origin, size, root = lines[0], lines[1], _unbase64(lines[2])
    _check_name(origin)
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise NoteError(f"checkpoint size {size!r}: expected a decimal number without leading zero")
    if root is None or len(root) != HASH_BYTES:
        raise NoteError("checkpoint root hash: expected base64 of 32 bytes")
    if size == "0" and root != EMPTY_ROOT:
        raise NoteError("checkpoint of an empty log with the root hash of another")
    return Checkpoint(origin=origin, size=int(size), root_hash=root)


def verify(note: str, name: str, spki: bytes) -> Checkpoint:
    """The checkpoint of log `name`, if its key signed it; else NoteError. Origin and key name are one name."""
    checkpoint = parse_checkpoint(open_note(note, NoteKey(name, spki)))
    if checkpoint.origin != name:
        raise NoteError(f"checkpoint of log {checkpoint.origin!r}: expected {name!r}")
    return checkpoint


def _split(note: str) -> tuple[str, list[_Line]]:
    try:
        length = len(note.encode())
    except UnicodeEncodeError as error:
        raise NoteError("a note is UTF-8 text") from error
    if length > MAX_NOTE_BYTES:
        raise NoteError(f"note of {length} bytes: at most {MAX_NOTE_BYTES} are taken")
    if any(unicodedata.category(each) == "Cc" and each != "\n" for each in note):
        raise NoteError("a note has no control characters but newlines")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not text or not signatures.endswith("\n"):
        raise NoteError("a note is text, an empty line, and signature lines that end with a newline")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"note with {len(lines)} signatures: at most {MAX_SIGNATURES} are taken")
    return text + "\n", [_Line.parse(each) for each in lines]


def _check_name(name: str) -> None:
    if not name or "+" in name or any(each.isspace() or unicodedata.category(each) == "Cc" for each in name):
        raise NoteError(f"key name {name[:80]!r}: not empty, no space, no '+'")


def _load(spki: bytes) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm, TypeError) as error:
        raise NoteError(f"not a DER SubjectPublicKeyInfo: {error}") from error
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
        raise NoteError("log key is not in its canonical encoding")
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise NoteError(f"{type(key).__name__}: notes are signed with Ed25519 or EC P-256")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str) -> bytes | None:
    """Decoded, if this is the one spelling of some bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _base64(data) == text else None
