"""Signer and ledger held against each other: what the signer has signed and nobody here asked for is found.

The signer is the real one, over a plant of the flow's tests; the ledger's own control is an intent without signature.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerUnavailableError
from station import agreement
from station.agreement import hold_balance, hold_hourly, keep_leased, pins_on_record, require_no_surplus, take_up_root
from station.faults import Fault
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.leasing import is_low
from tests.flow.bench import Bench, ShakyCloud
from trust.account import Balance, Signatures
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import read

Story = Callable[[Bench], Awaitable[None]]


def played(directory: Path, story: Story, **plant: Any) -> None:
    async def play() -> None:
        async with Bench.make(directory, **plant) as bench:
            bench.plant.signer()  # known to the plant
            await bench.parties().jobs.keep_order(bench.plant.order)  # type: ignore[attr-defined]
            await story(bench)

    asyncio.run(play())


def store_of(bench: Bench) -> JobStore:
    store = bench.parties().jobs
    assert isinstance(store, JobStore)
    return store


async def surplus(bench: Bench) -> str:
    """What the station finds when it asks; empty if nothing."""
    try:
        await require_no_surplus(
            (await bench.parties().signer.status()).orders, store_of(bench), await pins_on_record(store_of(bench))
        )
    except Fault as found:
        return f"{found.code}: {found}"
    return ""


async def signed_elsewhere(bench: Bench, name: str) -> None:
    """A unit that this signer signs for, on a ledger that is not this one."""
    other = JobStore(open_database(bench.plant.directory / f"{name}.db", create=True), bench.plant.stamp())
    await other.keep_order(bench.plant.order)
    bench.plant.new_device(name)
    mine = bench.parties()
    bench.change(jobs=other)
    assert (await bench.insert(bench.slot(name=name))).code == ""
    bench.change(jobs=mine.jobs)
    await other.close()


class Lost:
    """A signer that signs, and whose answer is lost."""

    def __init__(self, signer: Any) -> None:
        self.signer = signer

    async def sign_pin(self, statement: Any) -> Any:
        await self.signer.sign_pin(statement)
        raise SignerUnavailableError("the answer was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.signer, name)


def test_what_the_ledger_knows_is_no_surplus(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert await surplus(bench) == ""
        assert (await bench.insert()).code == ""
        assert await surplus(bench) == ""

    played(tmp_path, story)


def test_a_statement_that_nobody_here_intended_is_a_surplus(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await bench.insert()).code == ""
        await signed_elsewhere(bench, "dev-2")
        found = await surplus(bench)
        assert found.startswith("signer-surplus: ")
        assert "has made 2 pin statements, the ledger has 1 and 0 that may be among them" in found

    played(tmp_path, story)


def test_control_an_intent_whose_signature_never_came_is_no_surplus(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        steady = bench.parties().signer
        bench.change(signer=Lost(steady))
        assert (await bench.insert()).code == "signer-down"
        bench.change(signer=steady)
        assert (await steady.status()).orders[0].pins == 1
        assert await surplus(bench) == ""
        await signed_elsewhere(bench, "dev-2")
        assert "the ledger has 0 and 1 that may be among them" in await surplus(bench)

    played(tmp_path, story)


def test_a_signer_that_has_made_fewer_than_the_ledger_has_was_put_back(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        assert (await bench.insert()).code == ""
        (count,) = (await bench.parties().signer.status()).orders
        before = await pins_on_record(store_of(bench))
        with pytest.raises(Fault, match="ledger has 1: the signer's counters are an old copy") as found:
            await require_no_surplus([msgspec.structs.replace(count, pins=0)], store_of(bench), before)
        assert found.value.code == "ledger-differs"

    played(tmp_path, story)


def test_the_balance_goes_on_record_whatever_it_shows(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await signed_elsewhere(bench, "dev-2")
        with pytest.raises(Fault) as found:
            await hold_balance(bench.parties().signer, store_of(bench), bench.plant.root)
        assert found.value.code == "signer-surplus"
        (kept,) = await papers(bench)
        assert [each.pins for each in read(kept, Balance).orders] == [1]

    played(tmp_path, story)


class Says:
    """A signer whose balance is another."""

    def __init__(self, signer: Any, change: Callable[[Envelope], Awaitable[Envelope]]) -> None:
        self.signer, self.change = signer, change

    async def balance(self) -> Envelope:
        return await self.change(await self.signer.balance())


async def payload_changed(answer: Envelope) -> Envelope:
    return msgspec.structs.replace(answer, payload=answer.payload.replace(b'"pins":0', b'"pins":1', 1))


async def unsigned(answer: Envelope) -> Envelope:
    return msgspec.structs.replace(answer, signatures=())


@pytest.mark.parametrize("change", [payload_changed, unsigned])
def test_a_balance_that_does_not_hold_is_the_signers_fault_and_not_kept(
    tmp_path: Path, change: Callable[[Envelope], Awaitable[Envelope]]
) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(Fault) as found:
            await hold_balance(Says(bench.parties().signer, change), store_of(bench), bench.plant.root)  # type: ignore[arg-type]
        assert found.value.code == "signer-wrong"
        assert await papers(bench) == ()

    played(tmp_path, story)


@pytest.mark.parametrize(("by_token", "code"), [(0, ""), (3, ""), (4, "signer-surplus")])
def test_a_token_that_has_signed_more_than_its_signer_knows(tmp_path: Path, by_token: int, code: str) -> None:
    """Three signatures are on the signer's books, re-signs among them."""
    from tests.hsm.software_token import SoftwareToken, sealed

    async def story(bench: Bench) -> None:
        async def counted(answer: Envelope) -> Envelope:
            books = {"pin": Signatures(payloads=2, resigned=1)}
            said = msgspec.structs.replace(read(answer, Balance), signatures=books, by_token=by_token)
            return sealed(SoftwareToken(bench.plant.directory / "st-01"), said, "account")

        said = ""
        try:
            await hold_balance(Says(bench.parties().signer, counted), store_of(bench), bench.plant.root)  # type: ignore[arg-type]
        except Fault as found:
            said = f"{found.code}: {found}"
        assert said.startswith(code)
        assert ("the token has made 4 signatures" in said) is bool(code)
        assert bool(said) is bool(code)

    played(tmp_path, story)


def test_the_line_stops_within_the_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "_HOUR_S", 0.01)

    async def story(bench: Bench) -> None:
        stopped: list[Fault] = []
        watch = hold_hourly(bench.parties().signer, store_of(bench), bench.plant.root, stopped.append)
        task = asyncio.create_task(watch)
        await asyncio.sleep(0.1)
        assert (stopped, task.done()) == ([], False)
        task.cancel()
        await signed_elsewhere(bench, "dev-2")
        await asyncio.wait_for(
            hold_hourly(bench.parties().signer, store_of(bench), bench.plant.root, stopped.append), timeout=5
        )
        assert [each.code for each in stopped] == ["signer-surplus"]

    played(tmp_path, story)


def test_a_lease_is_renewed_before_a_batch_when_half_of_it_is_used(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        signer, cloud, store = bench.parties().signer, bench.parties().cloud, store_of(bench)

        async def serial() -> int:
            status = await signer.status()
            await keep_leased(status, signer, cloud, bench.plant.root, store)
            lease = (await signer.status()).lease
            return 0 if lease is None else lease.serial

        assert [await serial(), await serial()] == [1, 1]
        assert (await bench.insert()).code == ""
        assert await serial() == 1, "one of four is used"
        bench.plant.new_device("dev-2")
        assert (await bench.insert(bench.slot(name="dev-2"))).code == ""
        assert is_low(await signer.status(), bench.plant.root, datetime.now(UTC))
        assert await serial() == 2

    played(tmp_path, story, leases=4)


@pytest.mark.parametrize(("later", "low"), [(0.0, False), (3.4, False), (3.6, True), (8.0, True)])
def test_a_lease_is_renewed_when_half_of_its_days_are_over(tmp_path: Path, later: float, *, low: bool) -> None:
    async def story(bench: Bench) -> None:
        signer, now = bench.parties().signer, datetime.now(UTC)
        await keep_leased(await signer.status(), signer, bench.parties().cloud, bench.plant.root, store_of(bench))
        assert is_low(await signer.status(), bench.plant.root, now + timedelta(days=later)) is low

    played(tmp_path, story, leases=4)


def test_a_registry_that_is_away_keeps_no_batch_from_beginning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(bench: Bench) -> None:
        signer = bench.parties().signer
        away = ShakyCloud(bench.parties().cloud, {"lease"})
        with caplog.at_level(logging.WARNING):
            await keep_leased(await signer.status(), signer, away, bench.plant.root, store_of(bench))  # type: ignore[arg-type]
        assert "was not renewed" in caplog.text
        assert (await signer.status()).lease is None

    played(tmp_path, story, leases=4)


def test_a_newer_root_goes_on_record_once_and_an_older_one_is_refused(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        store, stamp, first = store_of(bench), bench.plant.stamp(), bench.plant.root
        second = later(first)
        for root in (first, first, second, second):
            await take_up_root(store, root, stamp)
        event = await store.last_event("root-taken-up")
        assert event is not None
        assert event.details == {"version": "2", "sha256": second.sha256}
        assert (await store.tip()).size == 3, "the order, and one event a version"
        for wrong in (first, other_chain(second)):
            with pytest.raises(Fault) as found:
                await take_up_root(store, wrong, stamp)
            assert found.value.code == "setup"

    played(tmp_path, story)


def later(first: TrustedRoot) -> TrustedRoot:
    """A second version of this root; who must approve one is another test's."""
    root = msgspec.structs.replace(first.root, version=2, previous_sha256=first.sha256)
    return TrustedRoot(root, wrap(root).payload_sha256, ((first.sha256, first.root),))


def other_chain(trusted: TrustedRoot) -> TrustedRoot:
    """A root of the same version that is not the same."""
    first = msgspec.structs.replace(trusted.earlier[0][1], registry_url="https://other.example")
    return later(parse(wrap(first).to_json()))


async def papers(bench: Bench) -> tuple[Envelope, ...]:
    """The balances on record, as the store keeps papers of no order."""
    return await store_of(bench).papers("")
