"""What must never cost a good unit, and what must never make a bad one green: liars, outages, used-up orders."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from fixtures.families.smp.emulated import device as emulated
from station import admission, held
from station.cloud import PinRecord
from station.events import Step, Verdict
from station.exits import Exit
from station.faults import fault
from station.line import StopSwitch
from tests.flow.bench import Bench, Down, ShakyCloud, WrappedSlot
from tests.flow.books import drain, play, report, under
from tests.flow.plant import PRODUCT
from tests.flow.test_forgotten_pin import Showing
from tests.flow.unit_causes import held as hold
from tests.flow.unit_causes import nonce_repeated
from trust.statement import Receipt, read

COLLECTED: dict[str, Any] = {"origins": ("generated", "collected"), "unproven_origin": True}


class WrongProofs:
    """A device whose every proof is another key's, or noise."""

    def __init__(self, device: Any) -> None:
        self._device = device

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    async def prove(self, challenge: bytes, context: str) -> bytes:
        signature = bytearray(await self._device.prove(challenge, context))
        signature[-1] ^= 1
        return bytes(signature)


def make_impostor(bench: Bench, *, job: bytes | None) -> None:
    """A board that claims the unit's id, and its job if one is given, with a key of its own."""
    emulated.create(bench.plant.directory / "evil.flash", device_id=bench.flash().device_id, product=PRODUCT)
    if job is not None:
        bench.give_key("evil", job=job)


# ---- a key that was given away


def test_a_key_that_was_given_away_is_not_forgotten(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await nonce_repeated(bench)).code == "nonce-repeated"
        steady = bench.parties().cloud
        for cloud in (steady, ShakyCloud(steady, {"pin", "history"})):
            bench.change(cloud=cloud)
            result = await bench.insert()
            assert (result.verdict, result.code) == (Verdict.QUARANTINE, "nonce-repeated"), result
            assert "found in attempt 1" in result.detail
        assert (await under(bench)).verdict is Verdict.QUARANTINE
        bench.change(cloud=steady)
        await drain(bench)
        told = await report(bench)
        assert (told.passed, told.quarantined) == (0, 1), told

    play(tmp_path, story)


def test_a_station_that_forgot_it_would_be_seen(tmp_path: Path) -> None:
    """Negative control: with fresh nonces the next attempt sees nothing."""

    async def story(bench: Bench) -> None:
        assert (await nonce_repeated(bench)).code == "nonce-repeated"
        with mock.patch.object(admission, "refuse_if_exposed"):
            assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


# ---- whoever claims a unit's id


@pytest.mark.parametrize("away", [True, False])
def test_an_impostor_does_not_take_a_held_unit_off_the_list(tmp_path: Path, *, away: bool) -> None:
    """It names the unit's id and job, which the unit tells everybody, and proves a key of its own."""

    async def story(bench: Bench) -> None:
        await hold(bench)
        key = bench.flash().key
        assert key is not None
        make_impostor(bench, job=key.job)
        steady = bench.parties().cloud
        if away:
            bench.change(cloud=ShakyCloud(steady, {"pin", "history"}))
        else:
            await drain(bench)
        result = await bench.insert(bench.slot(name="evil"))
        wanted = "key-changed" if away else "other-key-pinned"
        assert (result.verdict, result.code, result.step) == (Verdict.QUARANTINE, wanted, Step.KEYED)
        bench.change(cloud=steady)
        told = await report(bench)
        assert (told.held, told.quarantined) == (1, 0), told
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)


def test_an_impostor_does_not_use_up_a_units_attempts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        make_impostor(bench, job=None)
        for _ in range(4):
            result = await bench.insert(WrappedSlot(bench.slot(name="evil"), wrap=WrongProofs), max_attempts=2)
            assert result.code == "bad-proof"
        assert (await bench.insert(max_attempts=2)).verdict is Verdict.PASS

    play(tmp_path, story)


def test_another_units_use_of_a_job_id_takes_nothing_from_its_owner(tmp_path: Path) -> None:
    """A held unit tells its job to whoever asks; a liar gets that id pinned for itself at an honest second station."""

    async def story(bench: Bench) -> None:
        await hold(bench)
        key = bench.flash().key
        assert key is not None
        bench.plant.new_device("dev-2")
        bench.give_key("dev-2", job=key.job)
        await bench.insert(bench.slot(name="dev-2"), "st-02")
        await drain(bench, "st-02")
        assert (await drain(bench)).delivered == 1
        assert (await bench.insert()).verdict is Verdict.PASS
        assert (await report(bench)).lost == 0

    play(tmp_path, story, ("st-01", "st-02"), **COLLECTED)


# ---- line stops


def test_a_line_stop_does_not_take_a_held_unit_off_the_list(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await hold(bench)
        stop = StopSwitch()
        result = await bench.insert(stop=stop, emit=bench.at(Step.PINNED, lambda: stop.set(fault("signer-down"))))
        assert result.code == "line-stopped"
        assert len((await report(bench)).finish_me) == 1
        with mock.patch.object(held, "TABLE", {}):  # control: a rule that counts every verdict
            assert (await report(bench)).finish_me == ()

    play(tmp_path, story)


def test_line_stops_do_not_use_up_a_units_attempts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().signer
        bench.change(signer=Down(steady, "sign_pin"))
        for _ in range(4):
            assert (await bench.insert(max_attempts=2)).code == "signer-down"
        bench.change(signer=steady)
        assert (await bench.insert(max_attempts=2)).verdict is Verdict.PASS

    play(tmp_path, story)


# ---- a registry that takes back its word


def provisional(found: PinRecord | None) -> PinRecord | None:
    return found and dataclasses.replace(found, state="provisional", completion=None, completion_receipt=None)


@pytest.mark.parametrize("show", [provisional, lambda _: None])
def test_a_registry_that_lost_an_acknowledged_completion_stops_the_line(
    tmp_path: Path, show: Callable[[PinRecord | None], PinRecord | None]
) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        assert (await bench.insert()).verdict is Verdict.PASS
        await drain(bench)
        bench.change(cloud=Showing(steady, show=show))
        result = await bench.insert()
        assert (result.code, result.exit_code) == ("registry-wrong", Exit.LINE_STOPPED), result
        bench.change(cloud=steady)
        good = await bench.insert()
        assert (good.already, good.cloud) == (True, "active")

    play(tmp_path, story)


def test_a_completion_that_the_outbox_brought_meanwhile_is_not_lost(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().cloud
        assert (await bench.insert()).verdict is Verdict.PASS

        class Early(ShakyCloud):
            async def history(self, *args: Any) -> PinRecord | None:
                found: PinRecord | None = await self.cloud.history(*args)
                if found is not None and found.completion is None:
                    bench.change(cloud=steady)
                    assert (await drain(bench)).delivered == 1
                return found

        bench.change(cloud=Early(steady))
        result = await bench.insert()
        assert (result.verdict, result.already, result.cloud) == (Verdict.PASS, True, "active"), result

    play(tmp_path, story)


def test_a_second_receipt_is_the_registrys_fault_and_not_the_units(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady, signer = bench.parties().signer, bench.plant.receipt_signer()
        bench.change(signer=Down(steady, "sign_completion"))
        assert (await bench.insert()).code == "signer-down"
        bench.change(signer=steady)

        def another(found: PinRecord | None) -> PinRecord | None:
            assert found is not None
            told = msgspec.structs.replace(read(found.receipt, Receipt), registered_at="2026-01-31T12:00:00.000001Z")
            return dataclasses.replace(found, receipt=signer.sign_receipt(told))

        cloud = bench.parties().cloud
        bench.change(cloud=Showing(cloud, show=another))
        assert (await bench.insert()).code == "registry-wrong"
        bench.change(cloud=cloud)
        assert (await bench.insert()).verdict is Verdict.PASS

    play(tmp_path, story)
