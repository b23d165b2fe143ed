"""The station dies, or the device loses power, while a key is made: the next insertion waits for it, or begins anew."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from fixtures.families.smp.emulated import crypto
from fixtures.families.smp.emulated.faults import Faults, Verb
from fixtures.memory_slot import MemorySlot
from station.events import Verdict
from station.unit import Unit
from tests.flow.bench import Bench, new_private
from trust.identity import DeviceId

MAKES_S = 0.6
RSA = "rsa-2048"


def play(directory: Path, story: Callable[[Bench], Awaitable[None]], **order: Any) -> None:
    async def whole() -> None:
        async with Bench.make(directory, **order) as bench:
            await story(bench)

    asyncio.run(whole())


async def generating(slot: MemorySlot) -> None:
    """The device makes its key and has been asked how far it is."""
    async with asyncio.timeout(5):
        while not slot._device.seen[Verb.STATUS]:  # noqa: ASYNC110 - the device has no event
            await asyncio.sleep(0.005)


async def killed_while_it_makes_its_key(bench: Bench, slot: MemorySlot) -> bytes:
    """The first station's end; the device goes on. Returns the job that it makes its key for."""
    station = asyncio.create_task(bench.insert(slot))
    await generating(slot)
    station.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await station
    assert bench.flash().key is None
    jobs = await bench.parties().jobs.of_device(DeviceId(bench.flash().device_id))
    return bytes.fromhex(str(jobs[0].job.job_id))


@pytest.mark.parametrize("key_type", ["ec-p256", RSA])
def test_the_next_station_waits_for_the_key_that_is_being_made_and_takes_it(tmp_path: Path, key_type: str) -> None:
    async def story(bench: Bench) -> None:
        slot = bench.slot(Faults(generation_s=MAKES_S))
        job = await killed_while_it_makes_its_key(bench, slot)
        result = await bench.insert(slot)
        assert (result.verdict, result.attempt) == (Verdict.PASS, 2), result
        assert slot._device.seen[Verb.GENERATE] == 1, "the key of the first attempt is the one"
        key = bench.flash().key
        assert key is not None
        assert key.job == job
        assert result.job == job.hex()

    play(tmp_path, story, key_type=key_type)


def test_a_station_that_does_not_wait_for_it_is_seen(tmp_path: Path) -> None:
    """Negative control: without the wait the busy device ends the attempt."""

    async def impatient(_: Unit, going: Any) -> Any:
        return going

    async def story(bench: Bench) -> None:
        slot = bench.slot(Faults(generation_s=MAKES_S))
        await killed_while_it_makes_its_key(bench, slot)
        with mock.patch.object(Unit, "key_ended", impatient):
            assert (await bench.insert(slot)).code == "device-busy"

    play(tmp_path, story)


@pytest.mark.parametrize("when", ["waiting", "computing"])
@pytest.mark.parametrize("old", [False, True])
def test_a_power_cut_while_an_rsa_key_is_made_leaves_the_old_state(tmp_path: Path, when: str, old: bool) -> None:
    """Cut as the key is computed, too: what the thread brings afterwards never gets to flash."""
    computing, made = asyncio.Event(), new_private()

    async def story(bench: Bench) -> None:
        if old:
            bench.give_key(private=made)
        before, slot = bench.flash(), bench.slot(Faults(generation_s=0.2))
        loop = asyncio.get_running_loop()

        def slow(alg: int) -> bytes:
            loop.call_soon_threadsafe(computing.set)
            return real(alg)

        real = crypto.generate
        with mock.patch.object(crypto, "generate", slow):
            station = asyncio.create_task(bench.insert(slot))
            await generating(slot)
            if when == "computing":
                await computing.wait()
            slot._device.power_off()
            first = await station
            await _thread_ends(slot)
        assert first.verdict is Verdict.FAIL, first
        assert bench.flash() == before, "half a key, or one that power did not last for"
        result = await bench.insert(slot)
        assert (result.verdict, result.job, result.attempt) == (Verdict.PASS, first.job, 2), result
        assert bench.flash().key != before.key

    play(tmp_path, story, key_type=RSA)


async def _thread_ends(slot: MemorySlot) -> None:
    """What was being computed when power went comes to its end."""
    task = getattr(slot._device, "_task", None)
    if task is not None:
        await task
