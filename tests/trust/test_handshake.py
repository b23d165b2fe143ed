"""Handshake reports: who has to have signed one, and which pin it proves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.registry.make import Device, World, ec_key, public, world
from trust.dsse import Envelope, Signature
from trust.handshake import HandshakeReport, problem, reported
from trust.keys import PublicKey
from trust.root import CloudKeys, TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import PinStatement, StatementError, envelope, read

KEY, OTHER = ec_key(), ec_key()


@pytest.fixture
def made() -> World:
    return world()


def trusting(made: World, handshake: bytes = public(KEY).spki) -> TrustedRoot:
    keys = msgspec.structs.replace(made.trusted.root.cloud_keys, handshake=handshake)
    return parse(wrap(msgspec.structs.replace(made.trusted.root, cloud_keys=keys)).to_json())


def report(made: World, trusted: TrustedRoot, pin: PinStatement, **changes: Any) -> HandshakeReport:
    order = made.order
    said = HandshakeReport(
        environment="demo", root_sha256=trusted.sha256, registry=trusted.root.registry, station=pin.station,
        order_id=pin.order_id, job=pin.job, device_id=pin.device_id, fingerprint=pin.fingerprint,
        cloud_fingerprint=PublicKey.from_der(order.cloud_key).fingerprint, protocol=order.service,
        suite="ECDHE-ECDSA-AES128-CCM-8", transcript_sha256="ab" * 32, at="2026-01-31T12:00:00Z",
    )  # fmt: skip
    return msgspec.structs.replace(said, **changes)


def signed(said: HandshakeReport, *keys: ec.EllipticCurvePrivateKey) -> Envelope:
    bare = envelope(said)
    made = tuple(Signature(public(each).fingerprint, each.sign(bare.pae, ec.ECDSA(hashes.SHA256()))) for each in keys)
    return msgspec.structs.replace(bare, signatures=made)


@pytest.fixture
def pin(made: World) -> PinStatement:
    return read(made.pin(Device()), PinStatement)


def test_the_handshake_key_and_nobody_else(made: World, pin: PinStatement) -> None:
    trusted = trusting(made)
    said = report(made, trusted, pin)
    assert reported(trusted, signed(said, KEY)) == said
    for keys in ((), (OTHER,), (KEY, OTHER)):
        with pytest.raises(StatementError, match="handshake key"):
            reported(trusted, signed(said, *keys))
    with pytest.raises(StatementError, match="names no handshake key"):
        reported(without := trusting(made, b""), signed(report(made, without, pin), KEY))


@pytest.mark.parametrize(
    "changes",
    [{"environment": "site"}, {"registry": "another"}, {"root_sha256": "12" * 32}, {"at": "2026-13-01T00:00:00Z"}],
)
def test_of_this_environment_registry_root_and_time(made: World, pin: PinStatement, changes: dict[str, str]) -> None:
    trusted = trusting(made)
    with pytest.raises(StatementError):
        reported(trusted, signed(report(made, trusted, pin, **changes), KEY))


def test_it_proves_its_own_pin_and_no_other(made: World, pin: PinStatement) -> None:
    said = report(made, trusting(made), pin)
    assert problem(said, pin, made.order, station=pin.station) is None
    for name, value in (
        ("station", "station-99"), ("order_id", "other"), ("job", "00" * 16), ("device_id", "ab" * 12),
        ("fingerprint", "12" * 32), ("cloud_fingerprint", "12" * 32),
        ("protocol", "udp" if made.order.service == "tcp" else "tcp"),
    ):  # fmt: skip
        found = problem(msgspec.structs.replace(said, **{name: value}), pin, made.order, station=pin.station)
        assert found is not None, name


def test_cloud_keys_name_one_handshake_key() -> None:
    assert CloudKeys().handshake == b""
