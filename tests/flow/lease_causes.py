"""What must happen for each fault of a signer that is held: by its lease, a stop, the held units, or a scrapped device.

Plants of these causes have a root that wants leases (`leases` units each). Each cause gets a fresh plant and returns the
verdict of its last insertion.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from station.cloud import PinRecord
from station.events import UnitFinished
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.leasing import renew
from station.order_report import room_left
from tests import empty
from tests.flow.bench import Bench, ShakyCloud
from tests.flow.plant import REGISTRY, Parties
from tests.flow.unit_causes import held, power_failed
from tests.hsm.software_token import SoftwareToken, sealed
from trust.lease import Lease
from trust.revocation import Revocation

COUNTERS = Path("st-01", "counters.db")


async def lease_needed(bench: Bench) -> UnitFinished:
    """The signer has no lease yet, and the registry grants none now."""
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"lease"}))
    return await bench.insert()


async def lease_needed_in_mid_order(bench: Bench) -> UnitFinished:
    """The first lease is used up, and the registry is away."""
    await passes(bench, "dev-1")
    bench.change(cloud=ShakyCloud(bench.parties().cloud, {"lease", "history", "pin"}))
    return await bench.insert(new(bench, "dev-2"))


async def restored_signer_asks(bench: Bench) -> UnitFinished:
    """The signer's counters of a used-up lease are put back after the next one: its next request is an old one."""
    await passes(bench, "dev-1")
    saved = counters(bench)
    await passes(bench, "dev-2")
    restore(bench, saved)
    return await bench.insert(new(bench, "dev-3"))


async def restored_signer_signs(bench: Bench) -> UnitFinished:
    """The signer's counters of a fresh lease are put back: what it signs is beyond all leases at the registry."""
    await lease(bench.parties(), bench)
    saved = counters(bench)
    await passes(bench, "dev-1")
    restore(bench, saved)
    return await bench.insert(new(bench, "dev-2"))


async def signer_stopped(bench: Bench) -> UnitFinished:
    stop(bench)
    return await bench.insert()


async def signer_stopped_before_the_completion(bench: Bench) -> UnitFinished:
    """Held, and the signer has stopped itself when the unit comes back."""
    await held(bench)
    stop(bench)
    return await bench.insert()


async def held_too_many(bench: Bench) -> UnitFinished:
    """One unit waits for the registry, and the order lets no more wait."""
    await held(bench)
    room = await room_left(bench.parties().jobs, bench.plant.work)  # type: ignore[arg-type]
    return await bench.insert(new(bench, "dev-2"), headroom=room)


async def scrapped_before_its_signature(bench: Bench) -> UnitFinished:
    scrap(bench, "00" * 32)
    return await bench.insert()


async def scrapped_before_its_completion(bench: Bench) -> UnitFinished:
    """Held, and scrapped when it comes back."""
    await held(bench)
    pinned = bench.parties().signer.verbs.signatory.counters.pin_of_device(  # type: ignore[attr-defined]
        bench.flash().device_id.hex()
    )
    scrap(bench, pinned.fingerprint)
    return await bench.insert()


def new(bench: Bench, name: str):
    """A slot with a new device in it."""
    bench.plant.new_device(name)
    return bench.slot(name=name)


async def passes(bench: Bench, name: str) -> None:
    slot = bench.slot() if name == "dev-1" else new(bench, name)
    assert (await bench.insert(slot)).code == ""


async def lease(parties: Parties, bench: Bench) -> Lease:
    """A lease before the first unit."""
    return await renew(parties.signer, parties.cloud, bench.plant.root, parties.jobs)  # type: ignore[arg-type]


def counters(bench: Bench) -> bytes:
    """The signer's memory as it is on disk now."""
    return (bench.plant.directory / COUNTERS).read_bytes()


def restore(bench: Bench, saved: bytes) -> None:
    """Put the signer's memory back, and start the signer on it."""
    bench.parties().signer.verbs.signatory.counters.close()  # type: ignore[attr-defined]
    (bench.plant.directory / COUNTERS).write_bytes(saved)
    bench.change(signer=bench.plant.signer())


def stop(bench: Bench) -> None:
    known = bench.parties().signer.verbs.signatory.counters  # type: ignore[attr-defined]
    known.documents.add_stop("the token has made more signatures than are counted", 0)


def scrap(bench: Bench, fingerprint: str) -> None:
    """The signer is told by the registry that dev-1 is scrapped."""
    root, order, held = bench.plant.root, bench.plant.work, bench.flash()
    job = "5a" * 16 if held.key is None else held.key.job.hex()
    said = Revocation(
        environment="demo", root_sha256=root.sha256, registry=REGISTRY, order_id=order.order_id, job=job,
        device_id=held.device_id.hex(), fingerprint=fingerprint, cause="scrapped", act_sha256="ac" * 32, reason="dropped",
        revoked_at="2026-11-22T20:00:00Z",
    )  # fmt: skip
    signed = sealed(SoftwareToken(bench.plant.directory / "cloud"), said, "revocation")
    bench.parties().signer.verbs.import_revocation(signed)  # type: ignore[attr-defined]


async def scrapped_says_the_registry(bench: Bench) -> UnitFinished:
    """Pinned, its power failed, scrapped there, and the signer is not told yet: the unit is left as it is."""
    assert (await power_failed(bench)).code == "power-failed"
    steady = bench.parties().cloud

    class Scrapped(ShakyCloud):
        async def history(self, *args: Any) -> PinRecord | None:
            found = await steady.history(*args)
            return None if found is None else dataclasses.replace(found, state="scrapped")

    bench.change(cloud=Scrapped(steady))
    return await bench.insert()


async def order_spent(bench: Bench) -> UnitFinished:
    """A copy of this station has used the order up: the signer has numbers left, and the registry has not."""
    await used_up_by_a_copy(bench)
    return await bench.insert(new(bench, "dev-3"))


async def used_up_by_a_copy(bench: Bench) -> None:
    """Two units pass at a copy of the station; then the signer is put back, and the ledger knows nothing of them."""
    saved, here = counters(bench), bench.parties().jobs
    empty.station_database(bench.plant.directory / "copy.db")
    copy = JobStore(open_database(bench.plant.directory / "copy.db"), bench.plant.stamp())
    bench.change(jobs=copy)
    await copy.keep_order(bench.plant.order)
    for name in ("dev-1", "dev-2"):
        await passes(bench, name)
    await copy.close()
    bench.change(jobs=here)
    restore(bench, saved)
