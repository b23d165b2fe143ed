"""The audit of papers: each is signed by whom the trust root asks for, and the counts are held against what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from station.audit import AuditReport, audit
from station.jobs import RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from tests.registry.make import Device, World, ec_key, world
from tests.station import ledgerkit as kit
from tests.station.paperkit import Papered, balance, count, returned
from trust.account import Signatures
from trust.dsse import Envelope
from trust.order import Allotment

QUANTITY, ALLOWANCE = 2, 1
PIN, DONE = RecordKind.PIN, RecordKind.COMPLETION_RECEIPT
Story = Callable[[JobStore], Awaitable[None]]
ANOTHERS = "not signed by the key that the trust root names for it"


@pytest.fixture(scope="module")
def papered() -> Papered:
    """A world of people and keys, with an order of two and one more for a loss."""
    made = Papered.make()
    part = Allotment(quantity=QUANTITY, allowance=ALLOWANCE)
    parts = {"station-01": part, "station-02": part}
    small = made.made.with_order(order_id="tiny", quantity=2 * QUANTITY, allowance=2 * ALLOWANCE, stations=parts)
    return replace(made, made=small)


@pytest.fixture
def made(papered: Papered) -> World:
    return papered.made


@pytest.fixture
def told(tmp_path: Path, made: World) -> Callable[[Story], AuditReport]:
    def tell(story: Story) -> AuditReport:
        path = tmp_path / "station.db"

        async def write() -> None:
            store = kit.store_at(path, made)
            await store.keep_order(made.order_envelope)
            await story(store)
            await kit.publish(store, made)
            await store.close()

        kit.run(write())
        return audited(path, made)

    return tell


Told = Callable[[Story], AuditReport]


def audited(path: Path, made: World) -> AuditReport:
    engine = open_database(path, read_only=True)
    try:
        return audit(engine, made.trusted, kit.STATION)
    finally:
        engine.dispose()


def kept(*papers: Envelope) -> Story:
    async def keep(store: JobStore) -> None:
        for each in papers:
            await store.keep_paper(each)

    return keep


def texts(report: AuditReport) -> list[str]:
    return [f"{each.check} {each.text}" for each in report.findings]


def test_papers_of_the_right_people_are_fine(told: Told, papered: Papered, made: World) -> None:
    """The control of every forged one below."""
    papers = [
        balance(made), balance(made, pins=1), returned(made), papered.act("ada", "ben"), papered.lease(),
        papered.revocation(Device()),
    ]  # fmt: skip
    report = told(kept(*papers))
    assert (texts(report), report.leaves, report.covered) == ([], 1 + len(papers), 1 + len(papers))


def test_papers_of_an_environment_or_root_of_others(told: Told, made: World) -> None:
    foreign = balance(made, root_sha256="00" * 32)
    found = texts(told(kept(balance(made, environment="plant-1"), foreign)))
    assert found[0] == "8 environment 'plant-1', expected 'demo'"
    assert found[1].startswith("8 made under trust root 0000000000000000")


FORGED: dict[str, Callable[[Papered], Envelope]] = {
    "balance": lambda papered: balance(papered.made, key=papered.made.stations["station-01"].pin),
    "balance of nobody": lambda papered: kit.unsigned(balance(papered.made)),
    "return": lambda papered: returned(papered.made, key=ec_key()),
    "lease": lambda papered: papered.lease(papered.made.receipt_key),
    "lease by the revocation key": lambda papered: papered.lease(papered.revocation_key),
    "revocation": lambda papered: papered.revocation(Device(), papered.lease_key),
}


@pytest.mark.parametrize("forged", FORGED)
def test_another_key_is_found(told: Told, papered: Papered, forged: str) -> None:
    (found,) = texts(told(kept(FORGED[forged](papered))))
    assert found.startswith("9 ") and ANOTHERS in found


@pytest.mark.parametrize(
    ("by", "said"),
    [((), "nobody: 2 are wanted"), (("ada",), "ada: 2 are wanted"), (("pia", "quinn"), "nobody: 2 are wanted"),
     (("ada", "quinn"), "ada: 2 are wanted")],
)  # fmt: skip
def test_an_act_of_too_few_officers(told: Told, papered: Papered, by: tuple[str, ...], said: str) -> None:
    assert texts(told(kept(papered.act(*by)))) == [f"9 the act is approved by: {said}"]


def test_an_act_approved_by_somebody_whom_the_root_does_not_name(told: Told, papered: Papered) -> None:
    stranger = replace(papered.who["ben"], key=ec_key())
    act = replace(papered, who={**papered.who, "ben": stranger}).act("ada", "ben")
    (found,) = texts(told(kept(act)))
    assert "is no approver's of this trust root" in found


ANOTHER_STATIONS: dict[str, Callable[[Papered], Envelope]] = {
    "Balance": lambda papered: balance(papered.made, "station-02"),
    "AllotmentReturn": lambda papered: returned(papered.made, "station-02"),
    "Act": lambda papered: papered.act("ada", "ben", signer="station-02"),
    "Lease": lambda papered: papered.lease(station="station-02"),
}


@pytest.mark.parametrize("kind", ANOTHER_STATIONS)
def test_a_paper_of_another_station(told: Told, papered: Papered, kind: str) -> None:
    found = texts(told(kept(ANOTHER_STATIONS[kind](papered))))
    assert found == [f"9 {kind} of 'station-02' in the log of 'station-01'"]


def test_a_root_without_these_keys_has_no_leases_and_no_revocations(tmp_path: Path, papered: Papered) -> None:
    plain, path = world(), tmp_path / "station.db"

    async def write() -> None:
        store = kit.store_at(path, plain)
        await store.keep_paper(replace(papered, made=plain).lease())
        await store.keep_paper(replace(papered, made=plain).revocation(Device()))
        await kit.publish(store, plain)
        await store.close()

    kit.run(write())
    assert [(each.check, ANOTHERS in each.text) for each in audited(path, plain).findings] == [(9, True), (9, True)]


def test_a_tampered_paper_is_named_by_its_row(tmp_path: Path, papered: Papered) -> None:
    path, made = tmp_path / "station.db", papered.made

    async def write() -> None:
        store = kit.store_at(path, made)
        await kept(papered.lease(), papered.act("ada", "ben"))(store)
        await kit.publish(store, made)
        await store.close()

    kit.run(write())
    assert audited(path, made).findings == ()
    more = papered.act("ada", "ben", units=9).to_json().hex()
    kit.vandalise(path, f"UPDATE leaves SET entry = x'{more}' WHERE \"index\" = 1")
    assert {each.row for each in audited(path, made).findings if each.table == "leaves"} == {"1"}


def test_a_balance_that_tells_less_than_the_log_has(told: Told, made: World) -> None:
    """A signer whose memory was put back: its own books are older than the statements on record."""

    async def story(store: JobStore) -> None:
        for last in (DONE, PIN):
            await kit.bring_to(store, made, last)
        await store.keep_paper(balance(made, orders=(count(made, pins=2, completions=1),)))
        await store.keep_paper(balance(made, orders=(count(made, pins=1, completions=1),)))
        await store.keep_paper(balance(made, orders=(count(made, pins=2, completions=0),)))

    older = "devices under order tiny, the log has"
    assert texts(told(story)) == [
        f"15 the signer has signed for 1 {older} 2: its memory is older than the log",
        f"15 the signer has completed 0 {older} 1: its memory is older than the log",
    ]


def test_a_balance_that_tells_more_is_no_finding(told: Told, made: World) -> None:
    """Signed, and the answer never came: the station holds the two against each other, with its intents."""
    assert texts(told(kept(balance(made, orders=(count(made, pins=2),))))) == []


def test_a_balance_tells_of_papers_that_are_not_on_record(told: Told, made: World, papered: Papered) -> None:
    """An act after the balance will do: it was done just before a crash, and put on record afterwards."""
    act = papered.act("ada", "ben", units=3)
    raised = kept(balance(made, orders=(count(made, pins=0, raised=3),)))
    assert texts(told(raised)) == ["15 the signer has raised 3 units, papers in the log say 0: one is missing"]

    async def on_record(store: JobStore) -> None:
        await raised(store)
        await store.keep_paper(act)

    assert texts(told(on_record)) == []
    scrapped = kept(balance(made, orders=(count(made, pins=0, scrapped=1),)))
    assert texts(told(scrapped)) == ["15 the signer has scrapped 1 units, papers in the log say 0: one is missing"]


def test_a_token_that_has_signed_more_than_its_signer_knows(told: Told, made: World) -> None:
    books = {"pin": Signatures(payloads=4, resigned=1), "log": Signatures(payloads=2, resigned=0)}
    papers = [balance(made, signatures=books, by_token=each) for each in (6, 7, 8)]
    assert texts(told(kept(*papers))) == ["15 the token has made 8 signatures, its signer knows of 7"]


async def units(made: World, store: JobStore, *last: RecordKind) -> list[Device]:
    """Units brought as far as that."""
    return [(await kit.bring_to(store, made, each)).device for each in last]


def test_more_allowance_by_an_act(told: Told, papered: Papered, made: World) -> None:
    async def story(store: JobStore) -> None:
        await units(made, store, PIN, PIN, PIN)
        await store.keep_paper(papered.act("ada", "ben", units=2))
        await units(made, store, PIN, PIN)

    assert texts(told(story)) == []


def test_one_device_more_than_the_act_allows(told: Told, papered: Papered, made: World) -> None:
    async def story(store: JobStore) -> None:
        await store.keep_paper(papered.act("ada", "ben", units=1))
        await units(made, store, PIN, PIN, PIN, PIN, PIN)

    assert texts(told(story)) == ["15 5 devices are signed for under order tiny, it allows 4"]


def test_an_act_after_the_deed_changes_nothing(told: Told, papered: Papered, made: World) -> None:
    async def story(store: JobStore) -> None:
        await units(made, store, PIN, PIN, PIN, PIN)
        await store.keep_paper(papered.act("ada", "ben", units=1))

    assert texts(told(story)) == ["15 4 devices are signed for under order tiny, it allows 3"]


@pytest.mark.parametrize("scrapped", [True, False])
def test_scrap_frees_a_place_among_the_completed(told: Told, papered: Papered, made: World, *, scrapped: bool) -> None:
    async def story(store: JobStore) -> None:
        first, _ = await units(made, store, DONE, DONE)
        await store.keep_paper(papered.revocation(first if scrapped else Device()))
        await units(made, store, DONE)

    beyond = [] if scrapped else ["15 3 devices are completed under order tiny, it allows 2"]
    assert texts(told(story)) == beyond


def test_what_was_returned_is_gone(told: Told, made: World) -> None:
    async def story(store: JobStore) -> None:
        held = await kit.bring_to(store, made, PIN)
        rest = returned(made, pins=1, completions=0, quantity=QUANTITY - 1, allowance=ALLOWANCE)
        await store.keep_paper(rest)
        for kind in (RecordKind.PIN_RECEIPT, RecordKind.COMPLETION_INTENT, RecordKind.COMPLETION):
            await store.record(held.device.job, kind, held.steps[kind])
        await units(made, store, DONE)

    assert texts(told(story)) == [
        "15 2 devices are signed for under order tiny, it allows 1",
        "15 2 devices are completed under order tiny, it allows 1",
    ]
