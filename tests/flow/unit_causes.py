"""What must happen on the bench for each fault that has to do with the slot or the unit in it.

Each cause gets a fresh plant and returns the verdict of its last insertion.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fixtures.families.smp.emulated import crypto
from fixtures.families.smp.emulated.faults import Faults, Strike
from fixtures.indicators import Lamp
from fixtures.power import PowerError
from hsm.signer import SignerUnavailableError
from station.events import Step, UnitFinished
from station.faults import Fault
from station.headroom import Headroom
from station.outbox import Drained
from tests.flow.bench import P256_ORDER, Bench, Meddled, ShakyCloud, WrappedSlot
from tests.flow.books import drain
from tests.flow.plant import attempt
from tests.hsm.local_signer import FactoryVerbs, LocalSigner

Play = Callable[[Bench], Awaitable[UnitFinished]]


def device_with(*strikes: Strike, **faults: Any) -> Play:
    """A unit that has these faults, inserted once."""

    async def play(bench: Bench) -> UnitFinished:
        return await bench.insert(bench.slot(Faults(strikes=strikes, **faults)))

    return play


# ---- port and link


async def port_busy(bench: Bench) -> UnitFinished:
    slot = bench.slot()
    await slot.open()
    return await bench.insert(slot)


async def port_missing(bench: Bench) -> UnitFinished:
    slot = bench.slot()
    slot.unplug()
    return await bench.insert(slot)


def port_refuses(error: Exception) -> Play:
    async def play(bench: Bench) -> UnitFinished:
        return await bench.insert(WrappedSlot(bench.slot(), refuses=error))

    return play


async def no_answer(bench: Bench) -> UnitFinished:
    slot = bench.slot(has_switch=False)
    slot._device.power_off()
    return await bench.insert(slot)


async def link_lost(bench: Bench) -> UnitFinished:
    slot = bench.slot()
    return await bench.insert(slot, emit=bench.at(Step.KEYED, slot.unplug))


async def device_busy(bench: Bench) -> UnitFinished:
    """Still making the key of an insertion that was given up."""
    slot = bench.slot(Faults(generation_s=60))
    first = await bench.insert(slot, generation_timeout_s=0.02)
    assert first.code == "generation-failed"
    return await bench.insert(slot, generation_timeout_s=0.02)


async def power_failed(bench: Bench) -> UnitFinished:
    class Stuck:
        async def off(self) -> None:
            raise PowerError("switch 3 does not obey")

    slot = bench.slot()
    slot._switch = Stuck()  # type: ignore[assignment]
    return await bench.insert(slot)


async def indicator_failed(bench: Bench) -> UnitFinished:
    class Dark:
        async def show(self, _slot: str, lamp: Lamp) -> None:
            if lamp is Lamp.PASS:
                raise PowerError("the lamp controller does not answer")

    return await bench.insert(indicators=Dark())


# ---- the unit is not what it should be


async def bad_proof(bench: Bench) -> UnitFinished:
    """The key changes between public key and proof."""
    return await bench.insert(emit=bench.at(Step.KEYED, bench.give_key))


async def registry_needed(bench: Bench) -> UnitFinished:
    bench.give_key()
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"history"}))
    return await bench.insert()


async def held(bench: Bench, **changes: Any) -> None:
    """Signed, and the registry does not answer."""
    steady = bench.parties().cloud
    bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
    assert (await bench.insert(**changes)).code == "registry-unreachable"
    bench.change(cloud=steady)


async def order_full(bench: Bench) -> UnitFinished:
    """The order's last unit is held."""
    room = Headroom(1)
    await held(bench, headroom=room)
    bench.plant.new_device("dev-2")
    return await bench.insert(bench.slot(name="dev-2"), headroom=room)


async def key_changed(bench: Bench) -> UnitFinished:
    await held(bench)
    bench.give_key(job=b"\x77" * 16)
    return await bench.insert()


async def key_lost(bench: Bench) -> UnitFinished:
    await held(bench)
    bench.flash(key=None)
    return await bench.insert()


async def locked_unknown(bench: Bench) -> UnitFinished:
    """Provisioned in another plant."""
    async with Bench.make(bench.plant.directory / "elsewhere") as elsewhere:
        assert (await elsewhere.insert()).code == ""
        finished = elsewhere.flash()
    bench.flash(device_id=finished.device_id, key=finished.key, anchor=finished.anchor, locked_for=finished.locked_for)
    return await bench.insert()


async def passed_other_order(bench: Bench) -> UnitFinished:
    assert (await bench.insert()).code == ""
    await drain(bench)
    return await attempt(bench.another_order(), bench.parties(), bench.slot())


async def passed_other_order_and_the_registry_is_away(bench: Bench) -> UnitFinished:
    """The ledger alone knows."""
    assert (await bench.insert()).code == ""
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"history"}))
    return await attempt(bench.another_order(), bench.parties(), bench.slot())


async def pinned_under_another_order(bench: Bench) -> UnitFinished:
    """Its power switch failed when it was pinned and anchored."""
    assert (await power_failed(bench)).code == "power-failed"
    return await attempt(bench.another_order(), bench.parties(), bench.slot())


async def job_conflict(bench: Bench) -> UnitFinished:
    """Begun at st-02, pulled out, passed at st-01, back at st-02."""
    slot = bench.slot()
    begun = await bench.insert(slot, "st-02", emit=bench.at(Step.ASSIGNED, slot.unplug))
    assert begun.code == "port-missing"
    assert (await bench.insert()).code == ""
    return await bench.insert(station="st-02")


async def device_twice(bench: Bench) -> UnitFinished:
    """A clone of the unit stands in the next slot while the first one is in work."""
    clone = bench.plant.directory / "dev-2.flash"
    second: list[UnitFinished] = []
    slot, steady, in_work = bench.slot(), bench.parties().signer, set[Any]()

    class Waiting:
        def __getattr__(self, name: str) -> Any:
            return getattr(steady, name)

        async def challenge(self, request: Any) -> bytes:
            if not clone.exists():
                clone.write_bytes((bench.plant.directory / "dev-1.flash").read_bytes())
                second.append(await bench.insert(bench.slot(name="dev-2"), in_work=in_work))
            return await steady.challenge(request)

    bench.change(signer=Waiting())
    assert (await bench.insert(slot, in_work=in_work)).code == ""
    assert not in_work
    return second[0]


async def too_many_attempts(bench: Bench) -> UnitFinished:
    for _ in range(2):
        assert (
            await bench.insert(bench.slot(Faults(generation_fails=True)), max_attempts=2)
        ).code == "generation-failed"
    return await bench.insert(max_attempts=2)


async def report_differs(bench: Bench) -> UnitFinished:
    """Flash changes after the last read-back, before the device signs its report."""

    def meddle() -> None:
        anchor = bench.flash().anchor
        assert anchor is not None
        bench.flash(anchor=msgspec.structs.replace(anchor, port=1))

    return await bench.insert(WrappedSlot(bench.slot(), lambda device: Meddled(device, "report", meddle)))


async def nonce_repeated(bench: Bench) -> UnitFinished:
    with one_nonce_for_all():
        return await bench.insert()


async def completion_refused(bench: Bench) -> UnitFinished:
    """Its closing report has the nonce of a unit of another station: only the registry, which has both, can see it."""
    bench.plant.new_device("dev-2")
    with one_nonce_for_all(reports_only=True):
        assert (await bench.insert(bench.slot(name="dev-2"), "st-02")).code == ""
        assert (await drain(bench, "st-02")).delivered == 1
        assert (await bench.insert()).code == ""
    stops: list[Fault] = []
    assert await drain(bench, stop_line=stops.append) == Drained(delivered=0, refused=1, waiting=0)
    assert [stop.code for stop in stops] == ["key-duplicate"]
    return await bench.insert()


async def exposed_before(bench: Bench) -> UnitFinished:
    """Its key was given away in the attempt before; now its nonces are fresh."""
    assert (await nonce_repeated(bench)).code == "nonce-repeated"
    return await bench.insert()


@contextmanager
def one_nonce_for_all(*, reports_only: bool = False) -> Iterator[None]:
    """Devices whose ECDSA nonce is always the same: r never changes, and two signatures give the key away."""
    steady = crypto.sign

    def sign(private: bytes, message: bytes) -> bytes:
        if reports_only and not message.startswith(b"device-report-v1\x00"):
            return steady(private, message)
        key = load_der_private_key(private, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        k = 0x1234567
        r = ec.derive_private_key(k, ec.SECP256R1()).public_key().public_numbers().x % P256_ORDER
        z = int.from_bytes(hashlib.sha256(message).digest())
        s = pow(k, -1, P256_ORDER) * (z + r * key.private_numbers().private_value) % P256_ORDER
        return encode_dss_signature(r, s)

    with mock.patch.object(crypto, "sign", sign):
        yield


async def other_key_pinned(bench: Bench) -> UnitFinished:
    assert (await bench.insert()).code == ""
    bench.give_key()
    return await bench.insert()


async def pin_refused(bench: Bench) -> UnitFinished:
    """Two boards with one id: the other one is finished first, at another station; then the first comes back."""
    await held(bench)
    bench.plant.new_device("twin")
    bench.flash("twin", device_id=bench.flash().device_id)
    assert (await bench.insert(bench.slot(name="twin"), "st-02")).code == ""
    steady = bench.parties().cloud
    bench.change(cloud=ShakyCloud(steady, {"history"}))
    assert (await bench.insert()).code == "other-key-pinned"
    return await bench.insert()


async def begun_under_another_order(bench: Bench) -> UnitFinished:
    """Held under the first order: its key must not be replaced under the second."""
    await held(bench)
    before = bench.flash().key
    result = await attempt(bench.another_order(), bench.parties(), bench.slot())
    assert bench.flash().key == before
    return result


async def challenge_unknown(bench: Bench) -> UnitFinished:
    """The signer was down after the intent, and comes back after more than 90 days."""
    signatory = bench.parties().signer.verbs.signatory  # type: ignore[attr-defined]
    with mock.patch.object(LocalSigner, "sign_pin", side_effect=SignerUnavailableError("down")):
        assert (await bench.insert()).code == "signer-down"
    late = dataclasses.replace(signatory, clock=lambda: signatory.clock() + 91 * 86_400)
    bench.change(signer=LocalSigner(FactoryVerbs(late)))
    return await bench.insert()


async def signed_otherwise(bench: Bench) -> UnitFinished:
    """The ledger was put back from a backup that does not know the job any more."""
    ledger = bench.plant.directory / "st-01.db"
    backup = ledger.read_bytes()
    await held(bench)
    await bench.parties().jobs.close()  # type: ignore[attr-defined]
    ledger.write_bytes(backup)
    bench.change(jobs=bench.plant.jobs())
    return await bench.insert()
