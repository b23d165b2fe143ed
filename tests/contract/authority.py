"""The authority of devices under test: its key, a locked device whose anchor names it, and its word for one step.

Composes with `trust.rekey`, as a cloud's signer does; `tests.firmware.rekeying` composes the same from docs/wire.md.
"""

from __future__ import annotations

import dataclasses

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.device import Anchor, Authorised, Device
from tests.contract.parties import generated, spki, udp_anchor
from trust.dsse import Envelope, pae
from trust.identity import DeviceId, JobId
from trust.keys import KeyType, PublicKey
from trust.pin_act import Change, PinAct
from trust.rekey import PAYLOAD_TYPE, Authorisation, Step, anchor_sha256, authorisation
from trust.statement import envelope


@dataclasses.dataclass(frozen=True, slots=True)
class Authority:
    """A key that signs re-key authorisations, and one device that listens to it."""

    private: ec.EllipticCurvePrivateKey
    device_id: DeviceId
    job: JobId
    key: PublicKey

    @property
    def public(self) -> PublicKey:
        """What the device's anchor names."""
        return PublicKey.from_der(spki(self.private))

    def act(self, change: Change, anchor: Anchor | None = None) -> PinAct:
        """An act on the device as it was locked; nobody approves it here, and no device asks."""
        return PinAct(
            environment="demo", root_sha256="12" * 32, kind="rekey", reason="for the contract", nonce="34" * 32,
            device_id=str(self.device_id), fingerprint=self.key.fingerprint, change=change,
            key_type="ec-p256" if change == "new-key" else "", anchor_sha256=hash_of(anchor) if anchor else "",
            made_at="2026-12-01T00:00:00Z", not_after="2026-12-08T00:00:00Z",
        )  # fmt: skip

    def word(self, act: PinAct, step: Step, nonce: bytes, new: PublicKey | None = None) -> Authorisation:
        """What is to be signed."""
        document: Envelope = envelope(act)
        return authorisation(document, act, step, nonce=nonce, new_fingerprint="" if new is None else new.fingerprint)

    def say(self, word: Authorisation, anchor: Anchor | None = None) -> Authorised:
        """The word, signed."""
        payload = word.encode()
        signature = self.private.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
        return Authorised(payload, signature, anchor)

    async def step(self, device: Device, step: Step, new: PublicKey | None = None) -> None:
        """A step of changing the key, rightly authorised."""
        word = self.word(self.act("new-key"), step, await device.rekey_nonce(), new)
        await device.rekey_step(self.say(word))

    async def unlock(self, device: Device) -> None:
        """Open it."""
        await device.rekey_step(self.say(self.word(self.act("unlock"), Step.UNLOCK, await device.rekey_nonce())))


async def locked(device: Device, device_id: DeviceId, key_type: KeyType = KeyType.EC_P256) -> Authority:
    """The authority of a fresh device, which is locked then."""
    private, job = ec.generate_private_key(ec.SECP256R1()), JobId.new()
    key, _ = await generated(device, key_type, job)
    anchor = dataclasses.replace(udp_anchor(), authority_key=PublicKey.from_der(spki(private)))
    await device.write_anchor(anchor)
    await device.lock(job)
    return Authority(private, device_id, job, key.public_key)


def hash_of(anchor: Anchor) -> str:
    """What act and authorisation call it."""
    return anchor_sha256(
        cloud_key=anchor.cloud_key.spki, authority_key=anchor.authority_key.spki, service=anchor.service.value,
        host=anchor.host, port=anchor.port,
    )  # fmt: skip
