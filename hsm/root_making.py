"""A trust root as people write it: TOML that names files, read into the next version of a root's file.

Keys come from each signer's `public.json` and each approver's PEM, so that nobody copies one by hand. Makes a version
without approvals; never approves one.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import msgspec

import given
from hsm.config import SetupError
from hsm.public_file import read_public_file
from trust.dsse import Envelope
from trust.in_words import in_words
from trust.keys import PublicKey, PublicKeyError
from trust.kinds import PUBLIC_KEY, wrong_kind
from trust.printable import plainly, quoted
from trust.root import CloudKeys, RegistryKeys, Root, RootError, StationKeys
from trust.root_file import require_next, versions, wrap
from trust.toml_text import TomlError, table

_SET_HERE = ("version", "previous_sha256", "v", "type")
_CORRECT = "correct the root's TOML file"


def next_version(text: bytes, base: Path, previous: bytes | None) -> tuple[bytes, Envelope]:
    """The whole file with one more version, not approved yet, and that version's envelope; SetupError.

    Paths in the text are relative to `base`; `previous` is the file so far.
    """
    try:
        before = versions(previous)[-1] if previous is not None else None
        root = _root(_table(text), base, before)
        require_next(root, before)
    except RootError as error:
        raise SetupError(str(error)) from error
    new = wrap(root)
    kept = b"" if previous is None else previous.strip() + b"\n"
    return kept + new.to_json() + b"\n", new


def _table(text: bytes) -> dict[str, Any]:
    try:
        found = table(text)
    except TomlError as error:
        raise SetupError(f"root: it {error}; {_CORRECT}") from error
    for name in _SET_HERE:
        if name in found:
            raise SetupError(f"root: entry `{name}` is set when the version is made; take it out of the file")
    return found


def _root(entries: dict[str, Any], base: Path, before: tuple[Envelope, Root] | None) -> Root:
    if "cloud_keys" in entries:
        raise SetupError(f"root: cloud_keys is made of registry_keys' public.json: take it out; {_CORRECT}")
    made: dict[str, Any] = {"tls_root": b"", "version": 1, "previous_sha256": "", **entries, "type": "root"}
    if before is not None:
        made.update(version=before[1].version + 1, previous_sha256=before[0].payload_sha256)
    if "tls_root" in entries:
        made["tls_root"] = _certificate(base / _text(entries["tls_root"], "tls_root"))
    made["approvers"] = {
        name: {**_mapping(each, name), "keys": [_pem(base / path) for path in _mapping(each, name).get("keys", [])]}
        for name, each in _mapping(entries.get("approvers", {}), "approvers").items()
    }
    made["stations"] = {
        name: _picked(_public(base, each, f"stations.{name}"), StationKeys)
        for name, each in _mapping(entries.get("stations", {}), "stations").items()
    }
    cloud = _public(base, entries.get("registry_keys", {}), "registry_keys")
    made["registry_keys"] = _picked(cloud, RegistryKeys)
    made["cloud_keys"] = CloudKeys(
        device_service=tuple(cloud[name] for name in ("cloud-udp", "cloud-tcp") if name in cloud),
        authority=tuple(cloud[name] for name in ("authority",) if name in cloud),
        handshake=cloud.get("handshake", b""),
    )
    made["witnesses"] = {name: _pem(base / _text(path, name)) for name, path in entries.get("witnesses", {}).items()}
    try:
        return msgspec.convert(made, Root)
    except msgspec.ValidationError as error:
        raise SetupError(f"root: {in_words(error)}; {_CORRECT}") from error


def _picked(keys: dict[str, bytes], kind: type[StationKeys | RegistryKeys]) -> StationKeys | RegistryKeys:
    try:
        return msgspec.convert({name: keys[name] for name in kind.__struct_fields__ if name in keys}, kind)
    except msgspec.ValidationError as error:
        raise SetupError(f"root: public.json: {in_words(error)}: it is another role's") from error


def _public(base: Path, entry: object, what: str) -> dict[str, bytes]:
    """A signer's public keys by purpose, from the `public.json` that station-signer init has made."""
    return read_public_file(base / _text(_mapping(entry, what).get("public"), f"{what}.public"), _CORRECT)


def _pem(path: Path) -> bytes:
    data = _read(path)
    wrong = wrong_kind(data, PUBLIC_KEY)
    if wrong is not None:
        raise SetupError(f"{path} {wrong}, as station-signer approver new prints it")
    try:
        return PublicKey.from_pem(data.decode()).spki
    except (PublicKeyError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: {quoted(error)}; give a PEM public key (station-signer approver new)") from error


def _certificate(path: Path) -> bytes:
    try:
        return ssl.PEM_cert_to_DER_cert(_read(path).decode())
    except ValueError as error:
        raise SetupError(f"{path} is not one PEM certificate: {quoted(error)}; {_CORRECT}") from error


def _read(path: Path) -> bytes:
    try:
        return given.read(path)
    except OSError as error:
        raise SetupError(f"{path}: {plainly(error)}; {_CORRECT}") from error


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise SetupError(f"root: {what} must name a file; {_CORRECT}")
    return value


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SetupError(f"root: {what} must be a table; {_CORRECT}")
    return value
