"""When a ledger goes on from the signer's last head, case by case; the controls are the cases that are fine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hsm.signer import LogHead, SignerStatus
from ledger.publish import Head, Standing
from station.faults import LineStop
from station.jobs import LedgerError, RecordKind
from station.same_log import difference, require_same_log
from tests.registry.make import World, world
from tests.station import ledgerkit as kit
from trust.merkle import EMPTY_ROOT

A, B = b"a" * 32, b"b" * 32
ORIGIN = f"demo/{kit.STATION}/log"


def here(size: int, checkpoint: int, intent: int | None = None, root_hash: bytes | None = A) -> Standing:
    return Standing(size=size, checkpoint=checkpoint, intent=intent, root_hash=root_hash)


@pytest.mark.parametrize(
    ("known", "found", "told"),
    [
        (LogHead(size=10, root_hash=A), here(10, 10), None),
        (LogHead(size=10, root_hash=A), here(15, 10), None),
        (LogHead(size=10, root_hash=A), here(15, 6, 10), None),  # a crash between its signature and its storing
        (LogHead(size=6, root_hash=A), here(15, 6, 10), None),  # asked for, and never signed
        (LogHead(size=0, root_hash=EMPTY_ROOT), here(15, 0, None, EMPTY_ROOT), None),
        (LogHead(size=10, root_hash=A), here(9, 6, None, None), "an old copy, or it was cut"),
        (LogHead(size=10, root_hash=A), here(15, 10, None, B), "another log, or it was rewritten"),
        (LogHead(size=6, root_hash=A), here(15, 10), "the signer's counters are an old copy"),
        (
            LogHead(size=0, root_hash=EMPTY_ROOT),
            here(15, 10, None, EMPTY_ROOT),
            "the signer's counters are an old copy",
        ),
        (LogHead(size=10, root_hash=A), here(15, 6), "has not asked for"),
        (LogHead(size=10, root_hash=A), here(15, 6, 12), "has not asked for"),
        (LogHead(size=10, root_hash=A), here(15, 0), "has not asked for"),
    ],
)
def test_difference(known: LogHead, found: Standing, told: str | None) -> None:
    wrong = difference(known, found)
    assert (wrong is None) if told is None else (wrong is not None and told in wrong)


def status(head: LogHead | None = None, origin: str = ORIGIN, *, pins: int = 0, **signatures: int) -> SignerStatus:
    return SignerStatus(
        role="factory", name=kit.STATION, environment="demo", root_sha256="", token_label="", token_model="", keys={},
        signatures=signatures, resigned=0, pins=pins, checkpoints={} if head is None else {origin: head},
    )  # fmt: skip


def begins(found: SignerStatus) -> None:
    asyncio.run(require_same_log(found, ORIGIN, None))


def refused(found: SignerStatus) -> str:
    with pytest.raises(LineStop) as caught:
        begins(found)
    assert caught.value.code == "ledger-differs"
    return caught.value.detail


def test_a_new_ledger_only_where_the_signer_has_signed_nothing_for_it() -> None:
    begins(status())
    begins(status(log=3, client=2))
    begins(status(pin=1, completion=1))  # a ceremony's self-test: no statement of any device
    begins(status(LogHead(size=9, root_hash=A), origin="demo/another/log"))
    assert "over its first 9 leaves" in refused(status(LogHead(size=9, root_hash=A)))
    assert "the signer has signed 3 statements" in refused(status(pins=3))


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def test_a_real_ledger(tmp_path: Path, made: World) -> None:
    asked_for: list[Head] = []

    async def sign(head: Head) -> str:
        asked_for.append(head)
        if len(asked_for) == 2:
            raise ConnectionError("killed here")
        return kit.note_for(made, head)

    async def work() -> None:
        store = kit.store_at(tmp_path / "s.db", made)
        with pytest.raises(LineStop, match="do not tell of the same log"):
            await require_same_log(status(pins=1), ORIGIN, store)  # empty: as good as none
        await kit.bring_to(store, made, RecordKind.PIN)
        await require_same_log(status(pins=1), ORIGIN, store)
        await store.publish(kit.log_key(made), sign)
        await kit.bring_to(store, made, RecordKind.PIN)
        with pytest.raises(ConnectionError):
            await store.publish(kit.log_key(made), sign)
        await kit.bring_to(store, made, RecordKind.PIN)
        for head in asked_for:
            known = LogHead(size=head.size, root_hash=head.root_hash)
            await require_same_log(status(known), ORIGIN, store)
            other = LogHead(size=head.size, root_hash=A)
            with pytest.raises(LineStop, match="another log"):
                await require_same_log(status(other), ORIGIN, store)
        with pytest.raises(LineStop, match="an old copy"):
            await require_same_log(status(LogHead(size=99, root_hash=A)), ORIGIN, store)
        await store.close()

    kit.run(work())


def test_a_ledger_that_cannot_be_read_is_the_ledgers_fault() -> None:
    class Dead:
        async def standing(self, at: int) -> Standing:
            raise LedgerError("disk gone")

    with pytest.raises(LineStop) as caught:
        asyncio.run(require_same_log(status(), ORIGIN, Dead()))  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.detail) == ("ledger-failed", "disk gone")
