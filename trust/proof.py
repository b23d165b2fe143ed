"""What a device signs: proof of possession and closing report (docs/wire.md §4.3, §4.6).

Composition and checking only; shared by station, signer and registry so that all three judge the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from trust.identity import DeviceId, IdentityError, JobId
from trust.keys import PublicKey

CHALLENGE_BYTES = 32
_REPORT_HEAD = struct.Struct(">4sB12s16s32s32s32sBHB")
_REPORT_TAIL = struct.Struct(">32sBBBBB")
_SERVICES = {0: "tcp", 1: "udp"}
_STORAGE = {0: "plain-flash", 1: "protected-flash", 2: "secure-element"}


class ReportError(ValueError):
    """The closing report's bytes are malformed; the text says where."""


def proof_message(device: DeviceId, context: str, challenge: bytes) -> bytes:
    """The bytes a device signs to prove possession; context of 1 to 32 ASCII characters, challenge of 32 bytes."""
    label = context.encode("ascii")
    if not 1 <= len(label) <= 32 or len(challenge) != CHALLENGE_BYTES:  # noqa: PLR2004
        raise ValueError("context takes 1 to 32 characters, challenge 32 bytes")
    return b"device-proof-v1\x00" + bytes([len(device.raw)]) + device.raw + bytes([len(label)]) + label + challenge


def proves(key: PublicKey, device: DeviceId, context: str, challenge: bytes, signature: bytes) -> bool:
    """Whether the signature proves possession of the key by this device for this context and challenge."""
    return key.verifies(signature, proof_message(device, context, challenge))


def report_message(challenge: bytes, report: bytes) -> bytes:
    """The bytes a device signs for its closing report."""
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError("challenge takes 32 bytes")
    return b"device-report-v1\x00" + challenge + report


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingReport:
    """What the device says of itself, read from flash, under its own signature. Fingerprints are hex SHA-256."""

    device_id: DeviceId
    job: JobId
    device_fingerprint: str
    cloud_fingerprint: str
    authority_fingerprint: str
    service: str
    host: str
    port: int
    firmware_sha256: str
    locked: bool
    debug_closed: bool
    readout_protected: bool
    key_storage: str
    emulated: bool

    @classmethod
    def parse(cls, report: bytes) -> Self:
        """From the device's bytes; every byte is accounted for, else ReportError."""
        try:
            magic, version, device, job, own, cloud, authority, service, port, length = _REPORT_HEAD.unpack_from(report)
            host = report[_REPORT_HEAD.size : _REPORT_HEAD.size + length]
            firmware, locked, debug, readout, storage, emulated = _REPORT_TAIL.unpack_from(
                report, _REPORT_HEAD.size + length
            )
        except struct.error as error:
            raise ReportError(f"closing report of {len(report)} bytes is cut short") from error
        if magic != b"DREP" or version != 1 or len(report) != _REPORT_HEAD.size + length + _REPORT_TAIL.size:
            raise ReportError("closing report: wrong magic, version or length")
        if (
            service not in _SERVICES
            or storage not in _STORAGE
            or any(flag > 1 for flag in (locked, debug, readout, emulated))
        ):
            raise ReportError("closing report: a field has a value that is not defined")
        try:
            return cls(
                device_id=DeviceId(device), job=JobId(job), device_fingerprint=own.hex(), cloud_fingerprint=cloud.hex(),
                authority_fingerprint=authority.hex(), service=_SERVICES[service], host=host.decode("ascii"), port=port,
                firmware_sha256=firmware.hex(), locked=bool(locked), debug_closed=bool(debug),
                readout_protected=bool(readout), key_storage=_STORAGE[storage], emulated=bool(emulated),
            )  # fmt: skip
        except (IdentityError, UnicodeDecodeError) as error:
            raise ReportError(f"closing report: {error}") from error
