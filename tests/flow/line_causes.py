"""What must happen on the bench for each fault that stops the line or holds the unit: signer, ledger, registry, order.

Each cause gets a fresh plant and returns the verdict of its last insertion.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec

from fixtures.families.smp.emulated.faults import Faults
from hsm.token import TokenPinWrongError, TokenUnavailableError
from registry.pins.service import PinService
from station.events import Step, UnitFinished
from station.faults import fault
from station.line import StopSwitch
from tests.flow.bench import Bench, ShakyCloud, new_private
from tests.flow.plant import LocalCloud, attempt
from tests.flow.unit_causes import one_nonce_for_all
from trust.identity import DeviceId
from trust.root_file import parse
from trust.root_file import wrap as wrap_root


async def key_duplicate(bench: Bench) -> UnitFinished:
    private = new_private()
    bench.plant.new_device("dev-2")
    assert (await bench.insert(bench.slot(Faults(weak_key=private)))).code == ""
    return await bench.insert(bench.slot(Faults(weak_key=private), "dev-2"))


async def nonce_of_another_unit(bench: Bench) -> UnitFinished:
    """Two units sign their closing reports with one nonce: seen before the second completion is signed."""
    bench.plant.new_device("dev-2")
    with one_nonce_for_all(reports_only=True):
        assert (await bench.insert(bench.slot(name="dev-2"))).code == ""
        return await bench.insert()


async def order_refuses(bench: Bench) -> UnitFinished:
    """Collected, origin unproven, and the order does not allow that."""
    bench.give_key()
    return await bench.insert()


async def order_exhausted(bench: Bench) -> UnitFinished:
    bench.plant.new_device("dev-2")
    assert (await bench.insert()).code == ""
    return await bench.insert(bench.slot(name="dev-2"))


async def signer_down(bench: Bench) -> UnitFinished:
    token = bench.parties().signer.verbs.signatory.token  # type: ignore[attr-defined]
    token.fail_next = [TokenUnavailableError("the token was pulled out")]
    return await bench.insert()


async def signer_pin_wrong(bench: Bench) -> UnitFinished:
    token = bench.parties().signer.verbs.signatory.token  # type: ignore[attr-defined]
    token.fail_next = [TokenPinWrongError("user PIN of token 'st-01': refused")]
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
    """The registry has a trust root that is no version of the station's."""
    other = parse(
        wrap_root(msgspec.structs.replace(bench.plant.root.root, registry_url="https://other.example")).to_json()
    )
    database = bench.plant.registry_database()
    bench.change(cloud=LocalCloud(PinService(database, other, bench.plant.receipt_signer())))
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
