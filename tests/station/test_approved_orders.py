"""Approved orders at the station: read from their file, kept in the log, judged by the audit under their own root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from station.audit import audit
from station.jobs import RecordConflictError, RecordKind
from station.jobs.schema import open_database
from station.jobs.store import JobStore
from station.plan import load_order
from station.usage import UsageError
from tests.registry.approved import PIA, QUINN, WHO, approved, approved_world, second
from tests.registry.make import World
from tests.station import ledgerkit as kit
from tests.trust.people import approved_by, approvers, person
from trust.dsse import Envelope, Signature
from trust.root import TrustedRoot

Story = Callable[[JobStore], Awaitable[Any]]
OTTO = person("otto", "quality")


@pytest.fixture(scope="module")
def made() -> World:
    return approved_world()


def told(path: Path, made: World, story: Story, trusted: TrustedRoot | None = None) -> list[str]:
    """What the audit finds in a log of this story."""

    async def write() -> None:
        store = kit.store_at(path / "station.db", made)
        try:
            await story(store)
            await kit.publish(store, made)
        finally:
            await store.close()

    kit.run(write())
    engine = open_database(path / "station.db", read_only=True)
    try:
        return [f"{each.check} {each.text}" for each in audit(engine, trusted or made.trusted, kit.STATION).findings]
    finally:
        engine.dispose()


def keeps(*orders: Envelope) -> Story:
    async def keep(store: JobStore) -> None:
        for each in orders:
            await store.keep_order(each)

    return keep


# ---- its file


def saved(path: Path, order: Envelope) -> Path:
    (path / "order.json").write_bytes(order.to_json() + b"\n")
    return path / "order.json"


def test_an_approved_order_is_read_as_it_was_approved(tmp_path: Path, made: World) -> None:
    found = load_order(saved(tmp_path, order := approved(made)), made.trusted)
    assert found == order


def test_one_that_does_not_hold_is_refused_with_what_to_do(tmp_path: Path, made: World) -> None:
    junk = msgspec.structs.replace(made.order_envelope, signatures=(Signature("x", b"y"),))
    for order, words in [
        (approved_by(made.order_envelope, PIA), "station-signer order approve"),
        (junk, "station-signer order approve"),
        (approved(made.with_order(root_sha256="ab" * 32)), "newest root file"),
        (approved(made.with_order(environment="plant-b")), "expected 'demo'"),
        (approved(made.with_order(stations={})), "allot it"),
    ]:
        path = saved(tmp_path, order)
        with pytest.raises(UsageError, match=words) as caught:
            load_order(path, made.trusted)
        assert str(caught.value).startswith(f"order {path}: ")


def test_a_file_that_is_no_envelope_is_refused(tmp_path: Path, made: World) -> None:
    for data in (b"{", b"{}", b'{"payload":1}', b"  {\n}"):
        (tmp_path / "order.json").write_bytes(data)
        with pytest.raises(UsageError, match=r"order .*order\.json: "):
            load_order(tmp_path / "order.json", made.trusted)


# ---- its leaf


def test_an_order_that_was_approved_again_stays_as_it_was_first_kept(tmp_path: Path, made: World) -> None:
    first, again = approved(made), approved_by(made.order_envelope, PIA, QUINN)
    assert first.signatures != again.signatures

    async def story(store: JobStore) -> None:
        await keeps(first, again)(store)
        assert await store.order(made.order.order_id) == first
        for other in (made.order_envelope, approved(made.with_order(quantity=7))):
            with pytest.raises(RecordConflictError):
                await store.keep_order(other)

    assert told(tmp_path, made, story) == []


def test_an_approved_order_and_its_units_have_no_finding(tmp_path: Path, made: World) -> None:
    async def story(store: JobStore) -> None:
        await store.keep_order(approved(made))
        await kit.bring_to(store, of_approved, RecordKind.COMPLETION_RECEIPT)

    of_approved = _says_signed(made)
    assert told(tmp_path, made, story) == []


def test_a_unit_that_says_otherwise_is_found(tmp_path: Path, made: World) -> None:
    async def story(store: JobStore) -> None:
        await store.keep_order(approved(made))
        await kit.bring_to(store, made, RecordKind.PIN)

    assert any("says order_signed is False" in each for each in told(tmp_path, made, story))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda made: approved_by(made.order_envelope, PIA), "product-owner and quality are wanted"),
        (lambda made: approved_by(made.order_envelope, PIA, OTTO), "no approver's"),
        (lambda made: approved(made.with_order(stations={})), "nobody could make it"),
        (lambda made: approved(made.with_order(not_before="2026-13-01T00:00:00Z")), "no time that exists"),
    ],
)
def test_an_order_that_was_not_approved_or_makes_no_sense_is_found(
    tmp_path: Path, made: World, spoil: Callable[[World], Envelope], words: str
) -> None:
    (found,) = told(tmp_path, made, keeps(spoil(made)))
    assert found.startswith("11 ")
    assert words in found


def test_it_is_judged_by_those_whom_the_root_named_when_it_was_made(tmp_path: Path, made: World) -> None:
    """An approver who has left since has approved it all the same; so has one whom a later version names."""
    left = [each for name, each in WHO.items() if name != "quinn"]
    newer = second(made, approvers=approvers([*left, OTTO]))
    assert told(tmp_path, made, keeps(approved(made)), newer) == []
    anew = approved_by(made.order_envelope, PIA, OTTO)
    assert told(_new(tmp_path), made, keeps(anew), newer) == []
    (tmp_path / "older").mkdir()
    (found,) = told(tmp_path / "older", made, keeps(anew), made.trusted)
    assert "no approver's" in found


def test_units_are_judged_by_the_keys_of_their_own_version(tmp_path: Path, made: World) -> None:
    """The station's keys and the registry's have been replaced since."""
    other = approved_world()
    newer = second(
        made, stations={**made.trusted.root.stations, "station-01": other.stations["station-01"].keys},
        registry_keys=other.trusted.root.registry_keys,
    )  # fmt: skip

    async def story(store: JobStore) -> None:
        await store.keep_order(approved(made))
        await kit.bring_to(store, _says_signed(made), RecordKind.COMPLETION_RECEIPT)

    found = told(tmp_path, made, story, newer)
    assert not [each for each in found if each.startswith(("9 ", "11 "))], found


def _new(path: Path) -> Path:
    (path / "new").mkdir()
    return path / "new"


class _Approved(World):
    """A world whose pin statements say that the order is approved."""

    def pin_statement(self, device: Any, **changes: Any) -> Any:
        return super().pin_statement(device, **{"order_signed": True, **changes})


def _says_signed(made: World) -> World:
    return _Approved(made.stations, made.receipt_key, made.trusted, made.order)
