"""A scrap from a station, cut off anywhere between registry, ledger and signer: the same command again goes on.

The ledger is the station's real one, the signer a real factory signer; the registry answers through its own routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hsm.signer import SignerStatus, SignerUnavailableError
from ledger.engine import reading
from registry.errors import RefusedError
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.devices import Devices
from station.exits import Exit
from station.faults import Fault
from station.jobs import queries
from station.jobs.papers import REVOKED
from station.jobs.schema import open_database
from station.leaves import classify
from station.rework.acts import burned
from station.scrap import told as carrying
from station.scrap.carried_out import BEGAN, ENDED, ScrapBench, Scrapped, put_through
from station.scrap.told import TOLD, carry_scrap
from tests.hsm.local_signer import FactoryVerbs, make_factory
from tests.hsm.software_token import SoftwareToken
from tests.registry.benching import Benched, Fresh, KilledError, Ledger, Registry, fresh_benches, unasked
from tests.station import ledgerkit as kit
from trust.dsse import Envelope
from trust.statement import Event

pytestmark = pytest.mark.timeout(120)
CALLS = [
    f"note {BEGAN}", "registry held", "registry scrap", "registry revocations", "paper", "signer", f"note {TOLD}",
    f"note {ENDED}",
]  # fmt: skip


@pytest.fixture
def fresh(tmp_path: Path, migrated: bytes) -> Iterator[Fresh]:
    with fresh_benches(tmp_path, migrated) as another:
        yield another


class Signer:
    """The station's signer, as far as scrap goes; at its import the station may die, or the signer be away."""

    def __init__(self, verbs: FactoryVerbs, benched: Benched, *, away: bool = False) -> None:
        self._verbs, self._benched, self._away = verbs, benched, away

    async def status(self) -> SignerStatus:
        return self._verbs.status()

    async def import_revocation(self, revocation: Envelope) -> None:
        with self._benched.points("signer"):
            if self._away:
                raise SignerUnavailableError("it does not answer")
            self._verbs.import_revocation(revocation)


class Pages:
    """The registry, as far as it tells of scrap."""

    def __init__(self, benched: Benched) -> None:
        self._benched = benched

    async def scrapped(self, order_sha256: str, page: str) -> tuple[tuple[Envelope, ...], str | None]:
        with self._benched.points("registry revocations"):
            try:
                _, found, more = self._benched.site.acts.scrapped_under(order_sha256, "" if page == "first" else page)
            except RefusedError as error:
                raise CloudRefusedError(error.code, str(error)) from error
            return tuple(found), more


class Case:
    """A finished unit, an act that wants it scrapped, and a station: ledger and signer are on disk."""

    def __init__(self, benched: Benched, *, knows_order: bool = True) -> None:
        self.benched, site = benched, benched.site
        self.act = site.act(benched.device, "scrap")
        self.directory = benched.path.parent
        token = SoftwareToken.make(self.directory / "factory", "factory")
        self.factory = make_factory(self.directory / "factory", kit.STATION, site.made.trusted, token)
        self.device = str(benched.device.device_id)
        if knows_order:
            self.factory.import_order(site.order)

    async def _scrap(self, *, away: bool) -> Scrapped:
        site, device = self.benched.site, self.benched.device.device_id
        store = kit.store_at(self.directory / "station.db", site.made)
        ledger: Any = Ledger(store, self.benched.points)
        signer: Any = Signer(self.factory, self.benched, away=away)
        bench = ScrapBench(
            device=device, act=self.act, root=site.made.trusted, registry=Pages(self.benched), ledger=ledger,
            signer=signer, stamp=kit.stamp(site.made),
        )  # fmt: skip
        asks = Devices(Registry(site, self.benched.points))
        try:
            return await put_through(bench, lambda: burned(asks, device, self.act, site.made.trusted, unasked))
        except (CloudUnreachableError, CloudRefusedError) as error:
            raise classify(error) from error
        finally:
            await store.close()

    def scrap(self, *, away: bool = False) -> Scrapped:
        return asyncio.run(self._scrap(away=away))

    def next_batch(self) -> None:
        async def carry() -> None:
            store = kit.store_at(self.directory / "station.db", self.benched.site.made)
            signer: Any = Signer(self.factory, self.benched)
            made = self.benched.site.made
            try:
                orders = self.factory.status().orders
                pages = Pages(self.benched)
                await carry_scrap(orders, signer, pages, made.trusted, store, stamp=kit.stamp(made))
            finally:
                await store.close()

        asyncio.run(carry())

    def on_record(self) -> tuple[list[Event], bool]:
        """What is told of the scrap, and whether the registry's word is there."""
        path = self.directory / "station.db"
        if not path.exists():
            return [], False
        engine = open_database(path, read_only=True)
        try:
            with reading(engine) as connection:
                told = queries.told_of(connection, self.benched.device.device_id, (BEGAN, TOLD, ENDED))
                return list(told), queries.leaf_at(connection, REVOKED, self.device) is not None
        finally:
            engine.dispose()

    @property
    def burned(self) -> bool:
        return self.benched.site.read(self.benched.device).state == "scrapped"

    @property
    def signer_knows(self) -> bool:
        return bool(self.factory.signatory.counters.scrapped(self.device))

    def require_in_order(self) -> None:
        """Whatever was cut off: nothing is done that is not on record, and nobody is said to know what it does not."""
        told, paper = self.on_record()
        kinds = {each.kind for each in told}
        assert BEGAN in kinds or not self.burned, "burned, and nothing on record"
        assert paper or not self.signer_knows, "the signer knows what is not on record"
        assert self.signer_knows or TOLD not in kinds, "said to be told, and does not know"

    def require_done(self) -> None:
        self.require_in_order()
        assert (self.burned, self.signer_knows, self.on_record()[1]) == (True, True, True)
        assert [each.act.kind for each in self.benched.site.read(self.benched.device).deeds] == ["scrap"], "once"


def test_what_is_called_and_in_which_order(fresh: Fresh) -> None:
    case = Case(fresh())
    done = case.scrap()
    assert (done.before, done.signer, done.exit_code) == (False, "told", Exit.PASSED)
    assert case.benched.points.met == CALLS
    case.require_done()
    began, told, ended = case.on_record()[0]
    assert began.details["act"] == case.act.to_json().decode()
    assert (told.kind, ended.details["signer"]) == (TOLD, "told")
    again = case.scrap()
    assert (again.before, again.signer) == (True, "told")
    assert case.benched.points.met[len(CALLS) :].count("signer") == 0, "it is not told twice"


@pytest.mark.parametrize("when", ["kill_before", "kill_after"])
def test_a_station_that_dies_at_any_call_goes_on(fresh: Fresh, when: str) -> None:
    for number, name in enumerate(CALLS):
        for again in ("command", "batch"):
            case = Case(fresh())
            setattr(case.benched.points, when, number)
            with pytest.raises(KilledError):
                case.scrap()
            case.require_in_order()
            setattr(case.benched.points, when, None)
            was = case.burned
            if again == "batch":
                case.next_batch()  # tells the signer what was burned, and burns nothing
                assert (case.burned, case.signer_knows) == (was, was), (when, name)
                case.require_in_order()
            assert case.scrap().before == was, (when, name)
            case.require_done()


def test_a_lost_answer_of_the_registry_is_never_called_told(fresh: Fresh) -> None:
    for number, name in enumerate(CALLS):
        if not name.startswith("registry"):
            continue
        case = Case(fresh())
        case.benched.points.lose = number
        if name == "registry revocations":
            done = case.scrap()
            assert (done.signer, done.exit_code) == ("not-told", Exit.HELD)
            assert "the answer was lost" in done.why
            assert case.on_record()[0][-1].details["signer"] == "not-told"
        else:
            with pytest.raises(Fault) as caught:
                case.scrap()
            assert (caught.value.code, caught.value.row.exit) == ("registry-unreachable", Exit.HELD)
        case.require_in_order()
        case.benched.points.lose = None
        assert case.scrap().signer == "told"
        case.require_done()


def test_a_signer_that_is_away_is_told_later_and_the_fault_says_what_is_done(fresh: Fresh) -> None:
    case = Case(fresh())
    with pytest.raises(Fault, match="is scrapped at the registry, and this station's signer was not told") as caught:
        case.scrap(away=True)
    assert (caught.value.code, caught.value.row.exit) == ("signer-down", Exit.LINE_STOPPED)
    assert case.on_record()[0][-1].details == {
        "act_sha256": case.act.payload_sha256, "order_id": case.benched.site.made.order.order_id,
        "signer": "not-told", "code": "signer-down",
    }  # fmt: skip
    case.require_in_order()
    case.next_batch()
    assert case.signer_knows


def test_a_scrap_of_another_stations_order_is_on_record_too(fresh: Fresh) -> None:
    case = Case(fresh(), knows_order=False)
    done = case.scrap()
    assert (done.signer, done.exit_code, case.burned) == ("not-its-order", Exit.PASSED, True)
    assert [each.kind for each in case.on_record()[0]] == [BEGAN, ENDED]


def test_a_signer_that_is_told_before_the_ledger_is_caught(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control of `require_in_order`."""

    async def too_early(self: Any, revocation: Envelope, told: frozenset[str], *, again: bool) -> None:
        await self._signer.import_revocation(revocation)
        await self._papers.keep_paper(revocation)

    monkeypatch.setattr(carrying._Courier, "_tell", too_early)
    case = Case(fresh())
    case.benched.points.kill_before = CALLS.index("paper") + 1
    with pytest.raises(KilledError):
        case.scrap()
    with pytest.raises(AssertionError, match="not on record"):
        case.require_in_order()
