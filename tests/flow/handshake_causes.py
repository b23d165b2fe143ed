"""What must happen on the way between a unit and the cloud's device service for each fault of the live handshake.

Each cause gets a fresh plant whose units are of the TCP service and returns the verdict of its last insertion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fixtures.device import Device, Service, TunnelFault, Tunnelled, TunnelState
from fixtures.families.smp.emulated.faults import Faults
from fixtures.memory_slot import MemorySlot
from station.cloud import CloudRefusedError, DeviceServiceUnableError
from station.events import UnitFinished
from station.relay import Bounds, Carried
from tests.flow.bench import Bench, Down, WrappedSlot
from tests.flow.relaying import LocalRelay, NoRelay
from tests.flow.unit_causes import Play
from tests.hsm.local_signer import FactoryVerbs, LocalSigner
from trust.codes import Code
from trust.identity import DeviceId, JobId
from trust.root import TrustedRoot
from trust.root_file import wrap

_MESSAGE_3 = 512
ORDER: dict[str, Any] = {"tcp": True}


@cache
def device_key() -> bytes:
    """One RSA key in DER PKCS#8, made once a process: what units of these plants store when they make one."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def slot(bench: Bench, **faults: Any) -> MemorySlot:
    """A unit whose key comes soon."""
    return bench.slot(Faults(weak_key=device_key(), **faults))


async def with_keys(bench: Bench, **keys: Any) -> UnitFinished:
    bench.change(relay=bench.plant.relay(**keys))
    return await bench.insert(slot(bench))


def refusing(error: Exception) -> Play:
    """Whoever asks for the device service hears this."""

    async def play(bench: Bench) -> UnitFinished:
        bench.change(relay=NoRelay(error))
        return await bench.insert(slot(bench))

    return play


@dataclass(slots=True)
class Says:
    """A device whose client says this of itself from its first step on."""

    device: Device
    fault: TunnelFault

    async def tunnel_step(self, _: bytes = b"") -> Tunnelled:
        return Tunnelled(state=TunnelState.FAILED, sent=b"", more=False, fault=self.fault)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.device, name)


def unit_says(fault: TunnelFault) -> Play:
    async def play(bench: Bench) -> UnitFinished:
        return await bench.insert(WrappedSlot(slot(bench), wrap=lambda device: Says(device, fault)))

    return play


async def service_of_another_key(bench: Bench) -> UnitFinished:
    """It opens what the unit says to the anchored key, and signs with another one."""
    other = rsa.generate_private_key(65537, 2048)

    def pem() -> bytes:
        return other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    relay = bench.plant.relay()
    assert isinstance(relay, LocalRelay)
    (bench.plant.directory / "cloud" / "cloud-other.pem").write_bytes(pem())
    relay.keys.sign_label = "cloud-other"
    bench.change(relay=relay)
    return await bench.insert(slot(bench))


def another_cloud_key() -> dict[str, Any]:
    """An order whose cloud key is not the service's, as after it was replaced."""
    public = rsa.generate_private_key(65537, 2048).public_key()
    return {**ORDER, "cloud_key": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)}


async def order_for_another_cloud_key(bench: Bench) -> UnitFinished:
    return await bench.insert(slot(bench))


async def refused(bench: Bench) -> UnitFinished:
    """What the unit sends does not open: it is for another nonce."""
    return await with_keys(bench, opens=False)


@dataclass(slots=True)
class Mangling:
    """A way on which the frames of the service's session are spoilt."""

    relay: Any

    async def open(self, device: DeviceId, job: JobId, service: Service, first: Sequence[bytes]) -> Carried:
        return await self.relay.open(device, job, service, first)

    async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
        said = await self.relay.step(handshake, received, ended=ended)
        frames = tuple(b"\0\0" + each[2:] if len(each) < _MESSAGE_3 else each for each in said.send)  # no length
        return replace(said, send=frames)


async def not_opened(bench: Bench) -> UnitFinished:
    bench.change(relay=Mangling(bench.parties().relay))
    return await bench.insert(slot(bench))


class Mute:
    """A service that takes everything and says nothing."""

    async def open(self, *_: object) -> Carried:
        return Carried(handshake="0" * 32, state="running")

    async def step(self, *_: object, ended: bool = False) -> Carried:
        return Carried(handshake="0" * 32, state="running")


async def silent(bench: Bench) -> UnitFinished:
    bench.change(relay=Mute())
    return await bench.insert(slot(bench), bounds=Bounds(silence_s=0.2))


forgotten = refusing(CloudRefusedError(Code.HANDSHAKE_UNKNOWN, "begin anew"))
away = refusing(NoRelay().error)
unable = refusing(DeviceServiceUnableError("its signer does not sign"))


async def no_client(bench: Bench) -> UnitFinished:
    """The unit has none of the UDP service, though its family has."""
    bench.change(relay=Mute())
    return await bench.insert(bench.slot(Faults(no_udp_client=True)))


async def report_of_another_unit(bench: Bench) -> UnitFinished:
    return await with_keys(bench, says=lambda report: msgspec.structs.replace(report, device_id="01" * 12))


async def report_by_another_key(bench: Bench) -> UnitFinished:
    return await with_keys(bench, report_label="receipt")


async def no_report(bench: Bench) -> UnitFinished:
    class Wordless(Mangling):
        async def step(self, handshake: str, received: Sequence[bytes], *, ended: bool = False) -> Carried:
            return replace(await self.relay.step(handshake, received, ended=ended), report=None)

    bench.change(relay=Wordless(bench.parties().relay))
    return await bench.insert(slot(bench))


async def nothing_carried_for_a_receipted_pin(bench: Bench) -> UnitFinished:
    return await refusing(CloudRefusedError(Code.NOT_PINNED, "no such pin"))(bench)


def replaced(bench: Bench) -> TrustedRoot:
    """The next version of the root, with another handshake key."""
    first = bench.plant.root
    keys = msgspec.structs.replace(first.root.cloud_keys, handshake=first.root.registry_keys.receipt)
    root = msgspec.structs.replace(first.root, version=2, previous_sha256=first.sha256, cloud_keys=keys)
    return TrustedRoot(root, wrap(root).payload_sha256, ((first.sha256, first.root),))


def signer_under(bench: Bench, root: TrustedRoot) -> LocalSigner:
    signer = bench.plant.signer()
    return LocalSigner(FactoryVerbs(replace(signer.verbs.signatory, trusted=root)))


async def signer_of_a_newer_root(bench: Bench) -> UnitFinished:
    """The handshake key was replaced there, and this station and the service have the root before."""
    bench.change(signer=signer_under(bench, replaced(bench)))
    return await bench.insert(slot(bench))


async def key_replaced_behind_the_intent(bench: Bench) -> UnitFinished:
    """The signer was down when the completion was intended; when it is back, all have the newer root."""
    bench.change(signer=Down(bench.parties().signer, "sign_completion"))
    assert (await bench.insert(slot(bench))).code == "signer-down"
    bench.plant.root = replaced(bench)
    bench.change(signer=signer_under(bench, bench.plant.root))
    return await bench.insert(slot(bench))
