"""A real cause for every fault that a unit can meet: what must happen on the bench for each code of the table.

Each cause gets a fresh plant and returns the verdict of its last insertion. `ELSEWHERE` are the codes that no unit can
cause, each with the reason and the place where it is tested.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_private_key

from fixtures.families.smp.emulated import crypto
from fixtures.families.smp.emulated.faults import Faults, LockFault, Strike, Trouble, Verb
from fixtures.indicators import Lamp
from fixtures.link import LinkError, PortNotAllowedError
from fixtures.power import PowerError
from hsm.token import TokenUnavailableError
from registry.pins.service import PinService
from station.events import Step, UnitFinished
from station.faults import fault
from station.line import StopSwitch
from tests.flow.bench import P256_ORDER, Bench, Meddled, ShakyCloud, WrappedSlot, new_private
from tests.flow.plant import LocalCloud, attempt
from trust.identity import DeviceId
from trust.root import parse
from trust.root import wrap as wrap_root

Play = Callable[[Bench], Awaitable[UnitFinished]]


@dataclass(frozen=True, slots=True)
class Cause:
    """How to bring a fault about; `order` and `stations` are those of the plant."""

    play: Play
    order: dict[str, Any] = field(default_factory=dict)
    stations: tuple[str, ...] = ("st-01",)


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
    return await bench.insert(slot, emit=bench.at(Step.PINNED, slot.unplug))


async def device_busy(bench: Bench) -> UnitFinished:
    """Still making the key of an insertion that was given up."""
    slot = bench.slot(Faults(generation_s=60))
    first = await bench.insert(slot, generation_timeout_s=0.02)
    assert first.code == "generation-failed"
    return await bench.insert(slot)


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


async def _held(bench: Bench) -> None:
    """Signed, and the registry does not answer."""
    steady = bench.parties().cloud
    bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
    assert (await bench.insert()).code == "registry-unreachable"
    bench.change(cloud=steady)


async def key_changed(bench: Bench) -> UnitFinished:
    await _held(bench)
    bench.give_key(job=b"\x77" * 16)
    return await bench.insert()


async def key_lost(bench: Bench) -> UnitFinished:
    await _held(bench)
    bench.flash(key=None)
    return await bench.insert()


async def locked_unknown(bench: Bench) -> UnitFinished:
    """Provisioned in another plant."""
    async with Bench.make(bench.plant.directory / "elsewhere") as elsewhere:
        assert (await elsewhere.insert()).code == ""
        finished = elsewhere.flash()
    bench.flash(device_id=finished.device_id, key=finished.key, anchor=finished.anchor, locked_for=finished.locked_for)
    return await bench.insert()


async def other_order(bench: Bench) -> UnitFinished:
    assert (await bench.insert()).code == ""
    return await attempt(bench.another_order(), bench.parties(), bench.slot())


async def job_conflict(bench: Bench) -> UnitFinished:
    """Begun at st-02, pulled out, passed at st-01, back at st-02."""
    slot = bench.slot()
    begun = await bench.insert(slot, "st-02", emit=bench.at(Step.ASSIGNED, slot.unplug))
    assert begun.code == "port-missing"
    assert (await bench.insert()).code == ""
    return await bench.insert(station="st-02")


async def too_many_attempts(bench: Bench) -> UnitFinished:
    for _ in range(2):
        assert (await bench.insert(bench.slot(Faults(generation_fails=True)), max_attempts=2)).code == "generation-failed"
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


@contextmanager
def one_nonce_for_all() -> Iterator[None]:
    """Devices whose ECDSA nonce is always the same: r never changes, and two signatures give the key away."""

    def sign(private: bytes, message: bytes) -> bytes:
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
    await _held(bench)
    bench.plant.new_device("twin")
    bench.flash("twin", device_id=bench.flash().device_id)
    assert (await bench.insert(bench.slot(name="twin"), "st-02")).code == ""
    steady = bench.parties().cloud
    bench.change(cloud=ShakyCloud(steady, {"history"}))
    assert (await bench.insert()).code == "other-key-pinned"
    return await bench.insert()


async def signed_otherwise(bench: Bench) -> UnitFinished:
    """The ledger was put back from a backup that does not know the job any more."""
    ledger = bench.plant.directory / "st-01.db"
    backup = ledger.read_bytes()
    await _held(bench)
    await bench.parties().jobs.close()  # type: ignore[attr-defined]
    ledger.write_bytes(backup)
    bench.change(jobs=bench.plant.jobs())
    return await bench.insert()


# ---- the line


async def key_duplicate(bench: Bench) -> UnitFinished:
    private = new_private()
    bench.plant.new_device("dev-2")
    assert (await bench.insert(bench.slot(Faults(weak_key=private)))).code == ""
    return await bench.insert(bench.slot(Faults(weak_key=private), "dev-2"))


async def order_refuses(bench: Bench) -> UnitFinished:
    """Collected, origin unproven, and the order does not allow that."""
    bench.give_key()
    return await bench.insert()


async def order_exhausted(bench: Bench) -> UnitFinished:
    bench.plant.new_device("dev-2")
    assert (await bench.insert()).code == ""
    return await bench.insert(bench.slot(name="dev-2"))


async def signer_down(bench: Bench) -> UnitFinished:
    token = bench.parties().signer.policy.signatory.token  # type: ignore[attr-defined]
    token.fail_next = [TokenUnavailableError("the token was pulled out")]
    return await bench.insert()


async def signer_refused(bench: Bench) -> UnitFinished:
    """Nobody imported the order."""
    return await attempt(bench.another_order(imported=False), bench.parties(), bench.slot())


async def signer_wrong(bench: Bench) -> UnitFinished:
    class Liar:
        def __init__(self, signer: Any) -> None:
            self.signer = signer

        async def sign_pin(self, statement: Any) -> Any:
            signed = await self.signer.sign_pin(statement)
            return msgspec.structs.replace(signed, payload=signed.payload + b" ")

        def __getattr__(self, name: str) -> Any:
            return getattr(self.signer, name)

    bench.change(signer=Liar(bench.parties().signer))
    return await bench.insert()


async def ledger_failed(bench: Bench) -> UnitFinished:
    ledger = bench.plant.directory / "st-01.db"
    return await bench.insert(emit=bench.at(Step.PROVEN, lambda: ledger.rename(ledger.with_suffix(".moved")) and None))


async def ledger_conflict(bench: Bench) -> UnitFinished:
    """Two boards with one id in two slots at the same time."""
    bench.plant.new_device("twin")
    bench.flash("twin", device_id=bench.flash().device_id)
    both = await asyncio.gather(bench.insert(), bench.insert(bench.slot(name="twin")))
    return next(each for each in both if each.code)


async def registry_refused(bench: Bench) -> UnitFinished:
    """The registry has taken a newer trust root."""
    newer = parse(wrap_root(msgspec.structs.replace(bench.plant.root.root, version=2)).to_json())
    database = bench.plant.registry_database()
    bench.change(cloud=LocalCloud(PinService(database, newer, bench.plant.receipt_signer())))
    return await bench.insert()


async def registry_wrong(bench: Bench) -> UnitFinished:
    """A receipt for another pin."""
    bench.plant.new_device("dev-2")
    assert (await bench.insert(bench.slot(name="dev-2"))).code == ""
    other = await bench.parties().cloud.history(DeviceId(bench.flash("dev-2").device_id))
    assert other is not None

    class Forgetful(ShakyCloud):
        def __getattr__(self, verb: str) -> Any:
            ask = super().__getattr__(verb)

            async def answer(*args: Any) -> Any:
                held = await ask(*args)
                return held and replace(held, receipt=other.receipt)

            return answer

    bench.change(cloud=Forgetful(bench.parties().cloud))
    return await bench.insert()


async def line_stopped(bench: Bench) -> UnitFinished:
    """Another slot stopped the line while this unit was in work."""
    stop = StopSwitch()
    return await bench.insert(stop=stop, emit=bench.at(Step.KEYED, lambda: stop.set(fault("signer-down"))))


async def registry_unreachable(bench: Bench) -> UnitFinished:
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"pin", "history"}))
    return await bench.insert()


CAUSES: dict[str, list[Cause]] = {
    "port-busy": [Cause(port_busy)],
    "port-missing": [Cause(port_missing)],
    "port-not-allowed": [Cause(port_refuses(PortNotAllowedError("not for this user")))],
    "link-failed": [Cause(port_refuses(LinkError("no such baud rate")))],
    "no-answer": [Cause(no_answer)],
    "link-lost": [Cause(link_lost)],
    "garbled": [Cause(device_with(Strike(Verb.IDENTIFY, Trouble.REFUSED, times=9, code=99)))],
    "device-busy": [Cause(device_busy)],
    "generation-failed": [Cause(device_with(generation_fails=True))],
    "power-failed": [Cause(power_failed)],
    "bad-proof": [Cause(bad_proof)],
    "indicator-failed": [Cause(indicator_failed)],
    "wrong-product": [Cause(device_with(), {"product_id": 8})],
    "firmware-not-allowed": [Cause(device_with(), {"firmware": ("ab" * 32,)})],
    "registry-needed": [Cause(registry_needed)],
    "device-refused": [Cause(device_with(Strike(Verb.WRITE_ANCHOR, Trouble.REFUSED, code=10)))],
    "rng-failed": [Cause(device_with(rng_stuck=True)), Cause(device_with(Strike(Verb.GENERATE, Trouble.REFUSED, code=7)))],
    "unit-changed": [Cause(device_with(id_after_reboot=b"\x01" * 12))],
    "key-changed": [Cause(key_changed)],
    "key-lost": [Cause(key_lost)],
    "locked-unknown": [Cause(locked_unknown)],
    "origin-not-allowed": [Cause(device_with(), {"origins": ("collected",)})],
    "other-order": [Cause(other_order)],
    "job-conflict": [Cause(job_conflict, stations=("st-01", "st-02"))],
    "too-many-attempts": [Cause(too_many_attempts)],
    "anchor-differs": [Cause(device_with(anchor_corrupts=True))],
    "lock-not-holding": [
        Cause(device_with(lock=LockFault.IGNORED)),
        Cause(device_with(lock=LockFault.PRETENDED)),
    ],
    "report-differs": [Cause(report_differs)],
    "outcome-unknown": [
        Cause(device_with(Strike(Verb.WRITE_ANCHOR, Trouble.POWER_LOST_AFTER))),
        Cause(device_with(Strike(Verb.LOCK, Trouble.POWER_LOST_BEFORE))),
    ],
    "nonce-repeated": [Cause(nonce_repeated)],
    "other-key-pinned": [Cause(other_key_pinned)],
    "pin-refused": [Cause(pin_refused, stations=("st-01", "st-02"))],
    "signed-otherwise": [Cause(signed_otherwise)],
    "key-duplicate": [Cause(key_duplicate)],
    "order-refuses": [Cause(order_refuses, {"origins": ("collected",)})],
    "order-exhausted": [Cause(order_exhausted, {"quantity": 1, "allowance": 0})],
    "signer-down": [Cause(signer_down)],
    "signer-refused": [Cause(signer_refused)],
    "signer-wrong": [Cause(signer_wrong)],
    "ledger-failed": [Cause(ledger_failed)],
    "ledger-conflict": [Cause(ledger_conflict)],
    "registry-refused": [Cause(registry_refused)],
    "registry-wrong": [Cause(registry_wrong)],
    "line-stopped": [Cause(line_stopped)],
    "registry-unreachable": [Cause(registry_unreachable)],
}

ELSEWHERE = {
    "internal": "a bug of the station: test_a_bug_stops_the_line_and_does_not_vanish",
    "setup": "before any unit: nothing was started",
    "key-weak": "every weak key that can be recognised so far is refused as no key at all (trust.keys); the signer's word for "
    "it is classified: test_a_weak_key_has_its_own_exit_code",
}
