"""A registry that lies about a unit: nothing it says turns a lamp green, and each lie has its name."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from station.cloud import PinRecord
from station.events import Verdict
from station.jobs import RecordKind
from tests.flow.plant import Plant, attempt


class LyingCloud:
    """Changes what the registry says of a device."""

    def __init__(self, inner: Any, lie: Callable[[PinRecord], PinRecord]) -> None:
        self.inner, self.lie = inner, lie

    async def pin(self, *args: Any) -> PinRecord:
        return self.lie(await self.inner.pin(*args))

    async def complete(self, *args: Any) -> PinRecord:
        return await self.inner.complete(*args)

    async def history(self, device: Any) -> PinRecord | None:
        found = await self.inner.history(device)
        return None if found is None else self.lie(found)


async def finished(plant: Plant, name: str) -> tuple[PinRecord, Any]:
    """A unit that has passed, and is active in the registry."""
    parties = plant.parties()
    device = plant.new_device(name)
    assert (await attempt(plant, parties, plant.slot(name))).verdict is Verdict.PASS
    (found,) = await parties.jobs.of_device(device)
    done = found.records[RecordKind.COMPLETION]
    return await parties.cloud.complete(device, done), done


LIES: dict[str, Callable[[PinRecord, PinRecord], PinRecord]] = {
    "a completion without its receipt": lambda found, other: replace(
        found, state="active", completion=other.completion, completion_receipt=None
    ),
    "active without a completion": lambda found, other: replace(found, state="active"),
    "another unit's completion and receipt": lambda found, other: replace(
        found, state="active", completion=other.completion, completion_receipt=other.completion_receipt
    ),
    "a receipt without its completion": lambda found, other: replace(
        found, completion_receipt=other.completion_receipt
    ),
    "another unit's pin": lambda found, other: replace(found, statement=other.statement, receipt=other.receipt),
    "another unit's receipt": lambda found, other: replace(found, receipt=other.receipt),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_of_the_registry_is_never_a_pass(tmp_path: Path, name: str) -> None:
    plant = Plant.make(tmp_path)

    async def story() -> None:
        other, _ = await finished(plant, "dev-other")
        plant.new_device("dev-1")
        parties = plant.parties()
        lying = replace(parties, cloud=LyingCloud(parties.cloud, lambda found: LIES[name](found, other)))
        for _ in range(2):  # while it is pinned, and inserted again when the registry knows it
            result = await attempt(plant, lying, plant.slot("dev-1"))
            assert (result.verdict, result.code) == (Verdict.FAIL, "registry-wrong"), result
        assert (await attempt(plant, parties, plant.slot("dev-1"))).verdict is Verdict.PASS

    asyncio.run(story())
    plant.close()


def test_a_completion_on_record_that_is_another_units_is_not_believed(tmp_path: Path) -> None:
    plant = Plant.make(tmp_path)

    async def story() -> None:
        _, others = await finished(plant, "dev-other")
        plant.new_device("dev-1")
        parties = plant.parties()

        class Forged:
            def __getattr__(self, name: str) -> Any:
                return getattr(parties.jobs, name)

            async def begin(self, *args: Any, **kwargs: Any) -> Any:
                begun = await parties.jobs.begin(*args, **kwargs)
                return replace(begun, records={**begun.records, RecordKind.COMPLETION: others})

        result = await attempt(plant, replace(parties, jobs=Forged()), plant.slot("dev-1"))
        assert (result.verdict, result.code) == (Verdict.FAIL, "ledger-conflict"), result

    asyncio.run(story())
    plant.close()
