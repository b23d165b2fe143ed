"""`station check` on parties that answer and are of no use: each is BAD with a remedy, where a batch would only hold units."""

import asyncio
import datetime as dt
import time
from pathlib import Path

import msgspec
import pytest

from station.cloud import RegistryStatus
from station.finding import Finding, NotReadyError
from station.greeting import greet
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from station.objections import Objections, beside
from station.readiness import judged
from station.root import difference, load_root
from tests.cli.commands import Done, typed
from tests.cli.plant import Site
from tests.cli.test_check import bad
from tests.cli.test_setup import other_root
from trust.root import LeaseTerms, TrustedRoot

pytestmark = pytest.mark.xdist_group("site")
ASKED_ANEW_S = 0.6


def test_a_registry_whose_signer_is_dead(site: Site, first_batch: Done) -> None:
    """It answers, and would hold every unit; that it can be asked costs no signature."""
    with site.without("signer-cloud"):
        time.sleep(ASKED_ANEW_S)  # the registry may have asked it just before
        found = bad(typed("check", "--config", site.config))
        dry = typed("run", "--config", site.config, "--order", site.order("main"), "--dry-run")
    time.sleep(ASKED_ANEW_S)
    assert list(found) == ["registry"]
    assert "answers, and can sign no receipts: no answer from the signer at " in found["registry"]
    assert "see to its signer" in found["registry"]
    assert (dry.code, "can sign no receipts" in dry.err) == (2, True)


def test_another_root_is_bad_everywhere_and_the_older_one_is_named(site: Site, first_batch: Done) -> None:
    (site.state / "other.json").write_bytes(other_root(site, lease=LeaseTerms(units=7)))
    config = site.config_with("other", ('root = "root.json"', 'root = "other.json"'))
    found = bad(typed("check", "--config", config))
    assert list(found) == ["ledger", "signer", "registry"], found
    assert "the signer serves st-01/demo under root" in found["signer"]
    assert "and they are not the same" in found["registry"]
    assert "·" not in "".join(found.values()), "a line that was two"


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [(1, 2, "the registry's is the older one. Have it started again"), (2, 1, "the station's is the older one. Put the newest"),
     (1, 1, "Call the security officer")],
)  # fmt: skip
def test_which_root_is_older(site: Site, first_batch: Done, theirs: int, ours: int, told: str) -> None:
    trusted = load_root(site.state / "root.json")
    mine = TrustedRoot(msgspec.structs.replace(trusted.root, version=ours), trusted.sha256)
    text = difference("registry", theirs, "cd" * 32, mine)
    assert text is not None
    assert f"the registry has trust root version {theirs}, this station version {ours}" in text
    assert told in text
    assert difference("registry", theirs, trusted.sha256, mine) is None


def test_a_registry_with_an_older_root(site: Site, first_batch: Done) -> None:
    trusted = load_root(site.state / "root.json")
    newer = TrustedRoot(msgspec.structs.replace(trusted.root, version=2), "ef" * 32)

    class Older:
        async def history(self, _device: object) -> None:
            return None

        async def status(self) -> RegistryStatus:
            return RegistryStatus(root_sha256=trusted.sha256, root_version=1, trouble="")

    with pytest.raises(NotReadyError, match="the registry's is the older one"):
        asyncio.run(greet(Older(), newer))
    asyncio.run(greet(Older(), trusted))


def test_an_order_under_which_nothing_may_be_begun(site: Site, first_batch: Done) -> None:
    now = dt.datetime.now(dt.UTC)
    ended = site.order("ended", not_after=f'"{now - dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"',
                       not_before=f'"{now - dt.timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"')  # fmt: skip
    found = bad(typed("check", "--config", site.config, "--order", ended))
    assert list(found) == ["order"]
    assert "no unit may be begun, only what was signed for can be finished: it ended at" in found["order"]


def test_an_order_whose_units_have_passed(site: Site, first_batch: Done) -> None:
    small = site.order("only-one", quantity="1", allowance="0")
    assert bad(typed("check", "--config", site.config, "--order", small)) == {}
    assert typed("run", "--config", site.config, "--order", small, "--slots", "ec-08").code == 0
    found = bad(typed("check", "--config", site.config, "--order", small))
    assert "only what was signed for can be finished: 1 of 1 have passed" in found["order"]


def test_a_directory_or_no_database_where_the_ledger_is_expected(site: Site, first_batch: Done) -> None:
    (site.state / "folder").mkdir(exist_ok=True)
    (site.state / "text.db").write_text("no database at all\n" * 500)
    for name, told in (
        ("folder", "a directory, where `database` must name the ledger's file"),
        ("text.db", "is not a database"),
    ):
        config = site.config_with("odd", ('"station/ledger.db"', f'"{name}"'))
        found = bad(typed("check", "--config", config))
        assert list(found) == ["ledger"], found
        run = typed("run", "--config", config, "--order", site.order("main"), "--slots", "ec-01")
        report = typed("ledger", "report", "--config", config)
        for text in (found["ledger"], run.err, report.err):
            assert str(site.state / name) in text, text
            assert told in text
        assert run.code != 0 and report.code == 2


def test_what_the_registry_objected_to_is_shown_while_it_waits(site: Site, first_batch: Done) -> None:
    """Of a statement that waits, and of no other; a note that is torn shows nothing and harms nothing."""
    database = site.state / "station" / "ledger.db"
    slot, order = "ec-07", site.order("objected")
    with site.without("registry"):
        assert typed("run", "--config", site.config, "--order", order, "--slots", slot).code == 7
        waiting = asyncio.run(waiting_statement(database))
        notes = Objections(beside(database))
        notes.add("ab" * 32, "of nobody")
        notes.add(waiting, "lease-exceeded: more than its leases allow")
        found = bad(typed("check", "--config", site.config))
        assert list(found) == ["objected", "registry"]
        assert f"pin of device {site.device(slot)}: lease-exceeded: more than its leases allow. " in found["objected"]
        beside(database).write_text("torn")
        assert list(bad(typed("check", "--config", site.config))) == ["registry"]
    beside(database).unlink()
    assert typed("run", "--config", site.config, "--order", order, "--slots", slot).code == 0


async def waiting_statement(database: Path) -> str:
    """The SHA-256 of the one statement in the outbox."""
    store = JobStore(
        open_database(database, read_only=True), Stamp(station="st-01", environment="demo", root_sha256="")
    )
    try:
        (item,) = await store.pending()
        return item.envelope.payload_sha256
    finally:
        await store.close()


def test_units_of_another_order_are_bad_only_if_no_slot_is_left() -> None:
    good, empty = Finding("a", "ok", "x"), Finding("b", "ok", "opens, no device answers")
    other, broken = Finding("c", "n/a", "y"), Finding("d", "BAD", "z")
    assert judged([good, other, broken]) == [good, other, broken]
    assert judged([empty, other]) == [empty, other]
    assert [each.word for each in judged([other, broken])] == ["BAD", "BAD"]
    assert judged([]) == []


def test_a_mixed_jig_has_a_third_word(site: Site, first_batch: Done) -> None:
    """Text and JSON: the slot is not bad, and not ready either."""
    lines = [line for line in typed("check", "--config", site.config).lines if "ec-01" in line]
    assert lines[0].startswith("ok ")
    assert Finding("c", "n/a", "y").good
