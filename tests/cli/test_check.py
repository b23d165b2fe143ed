"""`station check`: each thing it looks at, good and bad, with what to do. Exit 0, or 2 when one is bad."""

import asyncio
import datetime as dt
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import msgspec
import pytest
import serial

from ledger.engine import Engine
from station import outstanding
from station.exits import Exit
from station.jobs import OutboxItem, RecordKind
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.cli.commands import Done, station, typed
from tests.cli.plant import Site
from tests.station.proxies import ISSUER, Proxy, inspecting, serving

pytestmark = pytest.mark.xdist_group("site")


def bad(done: Done) -> dict[str, str]:
    """What is bad, by subject."""
    found = [re.fullmatch(r"(ok |BAD|n/a)  (\S+) +(.*)", line) for line in done.lines]
    assert None not in found, done.out
    assert done.code == (Exit.USAGE if any(each[1] == "BAD" for each in found) else Exit.PASSED)
    return {each[2]: each[3] for each in found if each[1] == "BAD"}


def test_everything_is_in_order(site: Site, first_batch: Done) -> None:
    done = station("check", "--config", site.config, "--order", site.order("main"))
    assert (done.code, done.err) == (0, ""), done
    assert [line.split()[:2] for line in done.lines] == [
        ["ok", each]
        for each in ("root", "disk", "order", "ledger", "signer", "registry", "roster", "proxy", *site.slots)
    ]
    for slot, line in zip(site.slots, done.lines[-len(site.slots) :], strict=True):
        assert line.startswith(f"ok   {slot}     {site.device(slot)}, ")
        assert line.endswith(", emulated")


def test_some_slots_only(site: Site, first_batch: Done, tmp_path: Path) -> None:
    words = ["check", "--config", site.config, "--slots", "ec-05,ec-01"]
    assert [line.split()[1] for line in typed(*words).lines[-3:]] == ["proxy", "ec-05", "ec-01"]
    found = bad(typed("check", "--config", site.config, "--slots", "ec-01,ec-77"))
    assert list(found) == ["slots"]
    assert "no slot ec-77; there are ec-01, " in found["slots"]


def test_another_slots_file(site: Site, first_batch: Done, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text((site.state / "slots.toml").read_text().replace('name = "ec-', 'name = "nest-'))
    done = typed("check", "--config", site.config, "--slots-file", mine, "--slots", "nest-02")
    assert (done.code, done.lines[-1].split()[:2]) == (0, ["ok", "nest-02"]), done
    found = bad(typed("check", "--config", site.config, "--slots-file", tmp_path / "none.toml"))
    assert list(found) == ["slots"]
    assert "none.toml: No such file or directory: name the slots file" in found["slots"]


def test_servers_beside_it_on_the_terminal_say_ready_and_no_more(site: Site) -> None:
    """Their libraries' own words would stand among the findings of whoever starts a plant by hand."""
    for name in ("registry", "signer-factory", "signer-cloud"):
        (log, *_) = sorted((site.state / "logs").glob(f"{name}-*.log"))
        first, *rest = log.read_text().splitlines()
        assert first.startswith("ready")
        assert [line for line in rest if "alembic" in line or "uvicorn" in line] == []


def test_for_scripts(site: Site, first_batch: Done) -> None:
    done = typed("check", "--config", site.config, "--jsonl")
    assert (done.code, done.err) == (0, "")
    assert all(each.keys() == {"subject", "good", "word", "text"} for each in done.objects)


def variant(name: str, *swaps: tuple[str, str]) -> Callable[[Site], Path]:
    """Other settings beside the plant's."""
    return lambda site: site.config_with(name, *swaps)


def a_port_that_is_not_there(site: Site) -> Path:
    slots = (site.state / "slots.toml").read_text()
    (site.state / "gone.toml").write_text(re.sub(r'port = "[^"]+ec-02[^"]+"', 'port = "/dev/ttyNONE"', slots))
    return site.config_with("gone", ('slots = "slots.toml"', 'slots = "gone.toml"'))


def no_slots(site: Site) -> Path:
    return site.config_with("no-slots", ('slots = "slots.toml"', 'slots = "none.toml"'))


@pytest.mark.parametrize(
    ("settings", "subject", "told"),
    [
        (variant("r", ('root = "root.json"', 'root = "none.json"')), "root", "none.json: No such file"),
        (variant("e", ('environment = "demo"', 'environment = "plant-a"')), "root", "'plant-a', the trust root 'demo'"),
        (variant("n", ('name = "st-01"', 'name = "st-09"')), "root", "station 'st-09' is not in the trust root"),
        (variant("s", ("signer-factory/run", "signer-gone/run")), "signer", "it is not running. Start it: its service, or station-signer serve --dir DIR --root "),
        (variant("c", ("signer-factory/run", "signer-cloud/run")), "signer", "the signer serves registry-01/demo"),
        (variant("d", ("disk_reserve_mb = 256", "disk_reserve_mb = 999999999")), "disk", "Free disk space"),
        (a_port_that_is_not_there, "ec-02", "/dev/ttyNONE does not exist: plug the adapter in or correct the path"),
        (no_slots, "slots", "none.toml"),
    ],
    ids=["root", "environment", "station", "signer-down", "wrong-signer", "disk", "port", "slots"],
)  # fmt: skip
def test_a_bad_finding_says_what_to_do(site: Site, first_batch: Done, settings, subject: str, told: str) -> None:
    found = bad(typed("check", "--config", settings(site)))
    assert list(found) == [subject], found
    assert told in found[subject]


@pytest.mark.parametrize(
    ("proxy", "registry", "told"),
    [
        (Proxy(status="407 Proxy Authentication Required"), "the proxy says 407", "wants a sign-in (407"),
        (Proxy(status="403 Forbidden"), "the proxy says 403", "Have its administrators allow this one address"),
        (None, "by the proxy http://127.0.0.1:9: nobody listens there", "Correct registry.proxy, or start the proxy."),
    ],
    ids=["407", "403", "not there"],
)
def test_a_proxy_that_keeps_it_from_the_registry(
    site: Site, first_batch: Done, proxy: Proxy | None, registry: str, told: str
) -> None:
    with serving(proxy or Proxy()) as started:
        url = "http://127.0.0.1:9" if proxy is None else started.url
        found = bad(typed("check", "--config", site.config_with("proxied", ('proxy = ""', f'proxy = "{url}"'))))
    assert list(found) == ["registry", "proxy"]
    assert registry in found["registry"] and "Look at registry, network and proxy" in found["registry"]
    assert told in found["proxy"] and url in found["proxy"]


def test_a_proxy_that_lets_through_and_one_that_opens_tls(site: Site, first_batch: Done, tmp_path: Path) -> None:
    with serving(Proxy()) as started:
        config = site.config_with("honest", ('proxy = ""', f'proxy = "{started.url}"'))
        done = typed("check", "--config", config)
    assert done.code == Exit.PASSED
    assert any(f"{started.url} lets this station through to localhost:" in line for line in done.lines)
    with serving(Proxy(opens=inspecting(tmp_path))) as started:
        config = site.config_with("opening", ('proxy = ""', f'proxy = "{started.url}"'))
        found = bad(typed("check", "--config", config))
    assert list(found) == ["registry"], "the proxy itself lets it through"
    assert f"issued by 'CN={ISSUER}'. Have localhost:" in found["registry"]
    assert "TLS is opened on the way, or another server answers" in found["registry"]


def test_a_bad_order(site: Site, first_batch: Done) -> None:
    path = site.order("zero", quantity="0")
    found = bad(typed("check", "--config", site.config, "--order", path))
    assert list(found) == ["order"]
    assert str(path) in found["order"]
    assert "quantity is 0" in found["order"]


def test_an_order_that_the_batch_would_refuse(site: Site, first_batch: Done) -> None:
    """The id is known with other bytes; and a unit of another product is in the slot."""
    path = site.order("main", quantity="7")
    try:
        told = bad(typed("check", "--config", site.config, "--order", path))
        dry = typed("run", "--config", site.config, "--order", path, "--dry-run")
        run = typed("run", "--config", site.config, "--order", path, "--slots", "ec-01")
    finally:
        site.order("main")
    assert list(told) == ["order"]
    assert "is known here with other bytes: give this one an id of its own" in told["order"]
    assert (dry.code, run.code) == (Exit.ORDER_EXHAUSTED, Exit.ORDER_EXHAUSTED)
    other = site.order("checked-other", product='"lamp"', product_id="7")
    done = typed("check", "--config", site.config, "--order", other, "--slots", "ec-01")
    told = bad(done)
    assert list(told) == ["ec-01"], "no slot is left for this order"
    assert re.search(r"not for this order \(wrong-product: unit has product id 1001, the order 7\)", told["ec-01"])
    assert "No slot has a unit of this order: put them in" in told["ec-01"]


def test_a_port_that_another_program_holds(site: Site, first_batch: Done) -> None:
    (port,) = re.findall(r'port = "([^"]+ec-02[^"]+)"', (site.state / "slots.toml").read_text())
    with serial.Serial(port, exclusive=True):
        found = bad(typed("check", "--config", site.config))
    assert list(found) == ["ec-02"]
    assert "is in use: close the other program" in found["ec-02"]
    assert bad(typed("check", "--config", site.config)) == {}


def test_the_parties_are_down(site: Site, first_batch: Done) -> None:
    """The registry's turn is in test_held."""
    with site.without("signer-factory"):
        assert list(bad(typed("check", "--config", site.config))) == ["signer"]


def test_a_clock_that_is_behind_the_newest_record(site: Site, first_batch: Done) -> None:
    copy = site.state / "ahead.db"
    shutil.copy(site.state / "station" / "ledger.db", copy)
    note_in_2099(open_database(copy))
    found = bad(typed("check", "--config", site.config_with("ahead", ('"station/ledger.db"', '"ahead.db"'))))
    assert list(found) == ["ledger"]
    assert "the newest record is of 2099-01-01T00:00:00.000000Z. Set the clock." in found["ledger"]


def note_in_2099(engine: Engine) -> None:
    """What a station whose clock was ahead left behind."""

    async def note() -> None:
        store = JobStore(engine, Stamp(station="st-01", environment="demo", root_sha256="00" * 32))
        newest = await store.newest_event()
        assert newest is not None
        await store.note(msgspec.structs.replace(newest, at="2099-01-01T00:00:00.000000Z", attempt=99))
        await store.close()

    asyncio.run(note())


NOW = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)


def waiting_since(**ago: float) -> OutboxItem:
    """A completion's row, as far as its age is asked for."""
    made = (NOW - dt.timedelta(**ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    item = mock.Mock(spec=OutboxItem, kind=RecordKind.PIN)
    item.made_at = made
    return item


@pytest.mark.parametrize(
    ("items", "told"),
    [
        ([], "nothing waits for the registry"),
        ([{"seconds": 59}], "1 statement waits for the registry, for 0 min"),
        ([{"hours": 2, "minutes": 13}, {"minutes": 5}], "2 statements wait for the registry, the oldest for 2 h 13 min"),
        ([{"days": 3}, {"hours": -1}], "2 statements wait for the registry, the oldest for 3 days"),
        ([{"hours": -1}], "1 statement waits for the registry, for 0 min"),
    ],
)  # fmt: skip
def test_what_is_left_in_the_outbox(monkeypatch: pytest.MonkeyPatch, items: list[dict[str, float]], told: str) -> None:
    monkeypatch.setattr(outstanding, "_made_at", lambda item: dt.datetime.fromisoformat(item.made_at))
    jobs = mock.AsyncMock()
    jobs.waiting.return_value = len(items)
    jobs.pending.return_value = tuple(waiting_since(**each) for each in items[:1])
    text = asyncio.run(outstanding.left_over(jobs, NOW))
    jobs.pending.assert_awaited_once_with(most=1)
    assert text.partition(" (")[0] == told
    assert ("the next batch sends" in text) == bool(items)


def test_a_ledger_that_is_none(site: Site, first_batch: Done) -> None:
    sqlite3.connect(site.state / "foreign.db").execute("CREATE TABLE t (x)").connection.commit()
    found = bad(typed("check", "--config", site.config_with("foreign", ('"station/ledger.db"', '"foreign.db"'))))
    assert list(found) == ["ledger"]
    assert "foreign.db" in found["ledger"]


def test_a_station_that_has_no_ledger(site: Site, first_batch: Done) -> None:
    """More in test_same_log; that the first batch of all makes one is the first batch's to show."""
    config = site.config_with("no-ledger", ('"station/ledger.db"', '"new/ledger.db"'))
    assert list(bad(typed("check", "--config", config))) == ["ledger"]
    assert not (site.state / "new").exists(), "check makes nothing"
