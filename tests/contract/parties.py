"""What the contract's tests bring along: keys, anchors, and waiting for a key to be made."""

import asyncio
import secrets

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fixtures.device import Anchor, Device, Generation, GenerationState, Service, StoredKey
from trust.identity import DeviceId, JobId
from trust.keys import KeyType, PublicKey
from trust.proof import ClosingReport, proves, report_message


def spki(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def ec_key() -> PublicKey:
    return PublicKey.from_der(spki(ec.generate_private_key(ec.SECP256R1())))


def rsa_key() -> PublicKey:
    return PublicKey.from_der(spki(rsa.generate_private_key(65537, 2048)))


def udp_anchor(host: str = "devices.example.net", port: int = 5684) -> Anchor:
    return Anchor(cloud_key=ec_key(), authority_key=ec_key(), service=Service.UDP, host=host, port=port)


def tcp_anchor() -> Anchor:
    return Anchor(cloud_key=rsa_key(), authority_key=ec_key(), service=Service.TCP, host="tcp.example.net", port=5683)


async def generated(
    device: Device, key_type: KeyType, job: JobId, *, replace: bool = False
) -> tuple[StoredKey, list[Generation]]:
    """The job's key, and every status on the way."""
    first = await device.generate(key_type, job, replace=replace)
    if first.state is GenerationState.DONE:
        return await device.public_key(), [first]
    key, seen = await key_done(device)
    return key, [first, *seen]


async def key_done(device: Device) -> tuple[StoredKey, list[Generation]]:
    """The key once it is there, and every status on the way."""
    seen = [await device.generation()]
    while seen[-1].state is GenerationState.RUNNING:
        await asyncio.sleep(0.01)
        seen.append(await device.generation())
    assert seen[-1] == Generation(GenerationState.DONE, 100)
    return await device.public_key(), seen


async def proof_holds(device: Device, key: PublicKey, device_id: DeviceId) -> bool:
    challenge = secrets.token_bytes(32)
    return proves(key, device_id, "pin", challenge, await device.prove(challenge, "pin"))


async def closing_report(device: Device, key: PublicKey) -> ClosingReport:
    """The report, its signature checked."""
    challenge = secrets.token_bytes(32)
    signed = await device.report(challenge)
    assert key.verifies(signed.signature, report_message(challenge, signed.report))
    return ClosingReport.parse(signed.report)
