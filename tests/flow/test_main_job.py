"""One device through the whole flow, and again."""

import asyncio
from pathlib import Path

from station.events import Verdict
from station.jobs import RecordKind
from tests.flow.plant import Plant, attempt
from trust.statement import Completion, PinStatement, verify


def test_a_new_device_passes_and_both_pins_are_in_place(tmp_path: Path):
    plant = Plant.make(tmp_path)
    device = plant.new_device()
    parties = plant.parties()

    async def story():
        result = await attempt(plant, parties, plant.slot())
        assert (result.verdict, result.already, result.device_id) == (Verdict.PASS, False, str(device)), result
        registered = await parties.cloud.history(device)
        assert registered is not None
        assert registered.state == "provisional"  # the outbox makes it active
        pin = verify(registered.statement, PinStatement, plant.root.root.pin_key("st-01"))
        (found,) = await parties.jobs.of_device(device)
        job, records = found.job, found.records
        done = verify(records[RecordKind.COMPLETION], Completion, plant.root.root.completion_key("st-01"))
        assert (done.fingerprint, done.device_id, done.job) == (pin.fingerprint, str(device), str(job.job_id))
        assert pin.declared.emulated
        assert done.emulated
        assert done.verification.handshake == "not-asked"

    asyncio.run(story())
    plant.close()


def test_a_device_that_passed_is_verified_again_and_counted_once(tmp_path: Path):
    plant = Plant.make(tmp_path)
    plant.new_device()
    parties = plant.parties()

    async def story():
        slot = plant.slot()
        first = await attempt(plant, parties, slot)
        before = (await parties.signer.status()).signatures
        second = await attempt(plant, parties, slot)
        assert (first.verdict, second.verdict, second.already) == (Verdict.PASS, Verdict.PASS, True), second
        assert (await parties.signer.status()).signatures == before

    asyncio.run(story())
    plant.close()
