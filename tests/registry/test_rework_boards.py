"""The same rework on the real firmware, over a bench's port: on this host, and on the emulated board."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from registry.database import Database
from station.events import ReworkFinished, Verdict
from station.rework.acts import attempted
from tests.contract.nests import bench_nest, board_of
from tests.firmware.machine import DEVICE_ID
from tests.registry.benching import ENDS, Benched, site_with_signer
from tests.registry.test_rekeyed_device import flashed
from trust.identity import DeviceId

pytestmark = pytest.mark.timeout(120)
QEMU = pytest.param("emulated", marks=[pytest.mark.qemu, pytest.mark.xdist_group("qemu")])


@pytest.mark.parametrize("kind", ["native", QEMU])
def test_a_unit_gets_another_key_and_the_old_one_is_gone(
    database: Database, tmp_path: Path, short_dir: Path, kind: str
) -> None:
    benched = Benched(site_with_signer(database, tmp_path), tmp_path, DeviceId(DEVICE_ID))
    device, site = benched.device, benched.site
    act = site.act(device, "rekey", ends_at=ENDS)
    old = device.key.private_numbers().private_value.to_bytes(32)  # type: ignore[union-attr]
    file = short_dir / "slots/slot-01/flash.bin"

    async def story() -> list[ReworkFinished]:
        async with bench_nest(kind, board_of(kind), short_dir) as nest:
            await nest.power_off()
            file.write_bytes(flashed(device, site.made.order))
            await nest.power_on()
            done = [await attempted(benched.bench(act), nest.slot)]
            site.now += timedelta(days=8)
            done += [await attempted(benched.bench(act), nest.slot) for _ in range(2)]
            await nest.power_off()
            return done

    first, ended, again = asyncio.run(story())
    assert (first.verdict, first.old_key_until, first.emulated) == (Verdict.PASS, ENDS, True), first
    assert (ended.verdict, ended.old_key_until, ended.already) == (Verdict.PASS, "", False), ended
    assert (again.verdict, again.already, again.fingerprint) == (Verdict.PASS, True, first.fingerprint), again
    assert site.states(device) == ["ended", "active"]
    assert old not in file.read_bytes()
