"""The hourly balance while units go on: what passes between question and answer is neither too little nor too much."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from station import agreement
from station.agreement import hold_balance, hold_hourly
from station.alongside import alongside
from station.faults import Fault
from station.jobs.store import JobStore
from tests.flow.bench import Bench
from tests.station.test_agreement import Lost, papers, played, store_of
from trust.dsse import Envelope


class Meanwhile:
    """A signer; a unit passes just before, or just after, it has counted."""

    def __init__(self, signer: Any, unit: Callable[[], Awaitable[object]], *, first: bool) -> None:
        self.signer, self.unit, self.first = signer, unit, first

    async def balance(self) -> Envelope:
        if self.first:
            await self.unit()
        answer: Envelope = await self.signer.balance()
        if not self.first:
            await self.unit()
        return answer


@pytest.mark.parametrize("first", [True, False])
def test_a_unit_that_passes_while_the_signer_is_asked_stops_nothing(tmp_path: Path, first: bool) -> None:
    async def story(bench: Bench) -> None:
        signer = Meanwhile(bench.parties().signer, bench.insert, first=first)
        await hold_balance(signer, store_of(bench), bench.plant.root)  # type: ignore[arg-type]

    played(tmp_path, story)


@pytest.mark.parametrize("first", [True, False])
def test_control_the_ledger_read_at_one_moment_only_stops_a_healthy_line(
    tmp_path: Path, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what is on record afterwards is taken for what was on record before, and the other way round."""

    async def story(bench: Bench) -> None:
        store, count = store_of(bench), JobStore.pin_count
        before = await count(store, bench.plant.work.order_id)
        signer = Meanwhile(bench.parties().signer, bench.insert, first=first)

        async def at_one_moment(self: JobStore, order_id: str) -> Any:
            return before if first else await count(self, order_id)

        async def afterwards(store: JobStore) -> dict[str, int]:
            return {} if first else {order: (await count(store, order)).on_record + 1 for order in await store.orders()}

        monkeypatch.setattr(JobStore, "pin_count", at_one_moment)
        monkeypatch.setattr(agreement, "pins_on_record", afterwards)
        with pytest.raises(Fault) as found:
            await hold_balance(signer, store, bench.plant.root)  # type: ignore[arg-type]
        assert found.value.code == ("signer-surplus" if first else "ledger-differs")

    played(tmp_path, story)


def test_an_answer_that_comes_with_the_question_is_in_one_count(tmp_path: Path) -> None:
    """An intent becomes a pin statement: at one moment it is one of the two."""

    async def story(bench: Bench) -> None:
        steady = bench.parties().signer
        bench.change(signer=Lost(steady))
        assert (await bench.insert()).code == "signer-down"
        bench.change(signer=steady)
        order_id = bench.plant.work.order_id
        found = await store_of(bench).pin_count(order_id)
        assert (found.on_record, found.unanswered) == (0, 1)
        assert (await bench.insert()).code == ""
        found = await store_of(bench).pin_count(order_id)
        assert (found.on_record, found.unanswered) == (1, 0)

    played(tmp_path, story)


def test_a_bug_in_the_watch_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def faulty() -> None:
        raise ZeroDivisionError

    async def play() -> None:
        async with alongside(faulty()):
            await asyncio.sleep(0.01)
            assert "hourly balance" in caplog.text

    asyncio.run(play())


def test_the_watch_waits_for_a_signer_that_is_away_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a unit does: it asks with the line's own patience."""
    from hsm.signer import SignerUnavailableError
    from station.line import StopSwitch
    from station.patience import PatientSigner

    monkeypatch.setattr(agreement, "_HOUR_S", 0.01)

    async def story(bench: Bench) -> None:
        signer, left = bench.parties().signer, [SignerUnavailableError("away")] * 2

        class Away:
            async def balance(self) -> Envelope:
                if left:
                    raise left.pop()
                return await signer.balance()

        stopped: list[Fault] = []
        patient = PatientSigner(signer=Away(), emit=lambda _: None, patience_s=5, stop=StopSwitch())  # type: ignore[arg-type]
        task = asyncio.create_task(hold_hourly(patient, store_of(bench), bench.plant.root, stopped.append))
        for _ in range(200):
            if await papers(bench):
                break
            await asyncio.sleep(0.05)
        task.cancel()
        assert await papers(bench)
        assert (stopped, left) == ([], [])

    played(tmp_path, story)
