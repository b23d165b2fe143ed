"""Rows without their receipt: what a crash leaves gets one later, what somebody has put into the database never does.

Rows are put in with all triggers in place, as whoever may INSERT can.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from hsm.signer import SignerUnavailableError
from registry.checking.findings import findings
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins import late
from registry.pins.batch import CompletionLine, PinBatch, PinLine
from registry.pins.finding import Finding
from registry.pins.reading import UntrustedError
from registry.pins.record import PinRecord
from registry.tables import completions, order_counts, pin_acts, pins, receipts, signature_r
from tests.registry.living import TWO, WHO, Living, living
from tests.registry.make import Device, ec_key, public
from tests.trust.people import approved_by, approvers, file_of, next_root, person
from tests.trust.pin_acts import NOW, utc
from trust.codes import Code
from trust.dsse import Envelope
from trust.root import TrustedRoot
from trust.root_file import parse, wrap
from trust.signed import nonces, signed_in
from trust.statement import Completion, PinStatement, read

DAY = timedelta(days=1)


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


def rows_of(site: Living, table: Any, values: Any) -> None:
    with site.database.write() as connection:
        connection.execute(insert(table), values)


def put_act(site: Living, device: Device, act: Envelope, kind: str, *, number: int, state: str, at: datetime) -> None:
    row = {
        "device_id": str(device.device_id), "number": number, "kind": kind, "was": "scrapped" if number > 1 else "active",
        "act": act.to_json(), "act_sha256": act.payload_sha256, "state": state,
        "fingerprint": public(device.key).fingerprint, "registered_at": utc(at),
    }  # fmt: skip
    rows_of(site, pin_acts, row)


def put_pin(site: Living, device: Device, pin: Envelope, at: datetime) -> None:
    said = read(pin, PinStatement)
    named = {name: getattr(said, name) for name in ("station", "job", "fingerprint", "order_id", "order_sha256")}
    row = {
        **named, "device_id": said.device_id, "modulus": None, "statement": pin.to_json(),
        "statement_sha256": pin.payload_sha256, "registered_at": utc(at),
    }  # fmt: skip
    rows_of(site, pins, row)
    rows_of(site, signature_r, [{"r": each, "device_id": said.device_id} for each in nonces(signed_in(said))])
    with site.database.write() as connection:
        mine = (order_counts.c.order_sha256 == said.order_sha256) & (order_counts.c.station == said.station)
        connection.execute(update(order_counts).where(mine).values(pins=order_counts.c.pins + 1))


def put_completion(site: Living, done: Envelope, at: datetime) -> None:
    said = read(done, Completion)
    row = {
        "device_id": said.device_id, "pin_sha256": said.pin_sha256, "statement": done.to_json(),
        "statement_sha256": done.payload_sha256, "registered_at": utc(at),
    }  # fmt: skip
    rows_of(site, completions, row)
    rows_of(site, signature_r, [{"r": each, "device_id": said.device_id} for each in nonces(signed_in(said))])


def told_nothing(site: Living, device: Device, *named: str) -> list[Finding]:
    """Nothing is told of it, nothing is signed, and the check names it, also after somebody has asked."""
    before = site.signer.signatures
    for ask in (site.acts.find,) if "pin_acts" in named else (site.acts.find, site.pins.find):
        with pytest.raises(UntrustedError):
            ask(device.device_id)
    assert site.signer.signatures == before
    found = [each for each in findings(site.database, site.made.trusted, site.now) if not each.due]
    assert set(named) <= {each.table for each in found}
    return found


def following(site: Living, **changes: Any) -> TrustedRoot:
    """The root's next version."""
    first = site.made.trusted.root
    line = approved_by(wrap(first), WHO["ada"], WHO["ben"])
    return parse(file_of(line, approved_by(wrap(next_root(first, line, **changes)), WHO["ada"], WHO["ben"])))


def take_up(site: Living, trusted: TrustedRoot) -> None:
    site.made = replace(site.made, trusted=trusted)
    site.signer.trusted = trusted


def left_by_a_crash(site: Living, work: Callable[[], object]) -> None:
    """Committed, and the process died before it had the receipt."""
    site.signer.fault = SignerUnavailableError("the process is gone")
    with suppress(ReceiptUnavailableError):
        work()
    site.signer.fault = None


# ---- put there by somebody


@pytest.mark.both_databases
def test_an_act_past_its_end_is_not_done_by_whoever_writes_rows(site: Living) -> None:
    device = site.device()
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    act = site.act(device, "unscrap", was="scrapped")
    site.now = NOW + timedelta(days=90)
    with pytest.raises(RefusedError) as caught:
        site.acts.do(device.device_id, "unscrap", act)
    assert caught.value.code is Code.ACT_EXPIRED
    put_act(site, device, act, "unscrap", number=2, state="active", at=NOW + DAY)
    found = told_nothing(site, device, "pin_acts", "receipts")
    assert any("more than 7 days ago" in each.text for each in found)


@pytest.mark.parametrize("since_end", [timedelta(minutes=59), timedelta(minutes=61), 2 * DAY])
def test_an_act_is_over_an_hour_after_its_end_whatever_time_its_row_tells(site: Living, since_end: timedelta) -> None:
    device = site.device()
    act = site.act(device, "revoke", not_after=utc(NOW + DAY))
    site.now = NOW + DAY + since_end
    put_act(site, device, act, "revoke", number=1, state="revoked", at=NOW + DAY - timedelta(minutes=1))
    if since_end < late.ACT_IS_OVER:  # the process may have died in the act's last minute
        reading = site.acts.find(device.device_id)
        assert reading is not None
        assert reading.state == "revoked"
    else:
        told_nothing(site, device, "pin_acts")


def test_an_act_of_people_who_have_left_is_not_done_by_whoever_writes_rows(site: Living) -> None:
    device = site.device()
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    act = site.act(device, "unscrap", was="scrapped")
    who = [each for name, each in WHO.items() if name not in {"pia", "quinn"}]
    new = [person("nora", "product-owner"), person("olaf", "quality")]
    take_up(site, following(site, approvers=approvers([*who, *new])))
    site.now = NOW + timedelta(hours=5)
    with pytest.raises(RefusedError) as caught:
        site.acts.do(device.device_id, "unscrap", act)
    assert caught.value.code is Code.ACT_NOT_APPROVED
    put_act(site, device, act, "unscrap", number=2, state="active", at=NOW + timedelta(hours=1))
    told_nothing(site, device, "pin_acts", "receipts")


def test_an_act_before_the_one_before_it_is_none(site: Living) -> None:
    device = site.device()
    site.now = NOW + timedelta(hours=2)
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    act = site.act(device, "unscrap", was="scrapped")
    put_act(site, device, act, "unscrap", number=2, state="active", at=NOW + timedelta(hours=1))
    told_nothing(site, device, "pin_acts")


@pytest.mark.both_databases
def test_a_stolen_key_of_a_station_that_was_removed_makes_no_device(site: Living) -> None:
    thief = Device()
    site.device()
    pin = site.made.pin(thief, order_signed=True, made_at=utc(NOW))
    stations = {name: keys for name, keys in site.made.trusted.root.stations.items() if name != "station-01"}
    take_up(site, following(site, stations=stations))
    site.now = NOW + timedelta(hours=5)
    with pytest.raises(RefusedError):
        site.pins.pin(thief.device_id, pin, site.order)
    put_pin(site, thief, pin, NOW + timedelta(hours=1))
    told_nothing(site, thief, "receipts")
    (batched,) = PinBatch(site.database, site.made.trusted, site.signer, site.pins, now=lambda: site.now).settle(
        [PinLine(thief.device_id, pin, site.order)]
    )
    assert isinstance(batched, RefusedError)


@pytest.mark.both_databases
def test_nor_a_completion(site: Living) -> None:
    thief = site.device(active=False)
    record = site.pins.find(thief.device_id)
    assert record is not None
    done = site.made.completion(thief, record.pin.statement, record.pin.receipt)
    stations = {name: keys for name, keys in site.made.trusted.root.stations.items() if name != "station-01"}
    take_up(site, following(site, stations=stations))
    put_completion(site, done, NOW)
    told_nothing(site, thief, "receipts")


@pytest.mark.both_databases
@pytest.mark.parametrize("told", ["2020-01-01T00:00:00Z", "2031-01-01T00:00:00Z", "2026-12-01T00:00:00", "soon"])
def test_a_receipt_that_is_gone_is_not_signed_anew_for_another_time(site: Living, told: str) -> None:
    device = site.device()
    with site.database.write() as connection:
        mine = completions.c.device_id == str(device.device_id)
        sha256 = connection.execute(completions.select().where(mine)).one().statement_sha256
        past_triggers(connection, "completions", "receipts")
        connection.execute(receipts.delete().where(receipts.c.statement_sha256 == sha256))
        connection.execute(update(completions).where(mine).values(registered_at=told))
    told_nothing(site, device, "receipts")
    (batched,) = PinBatch(site.database, site.made.trusted, site.signer, site.pins, now=lambda: site.now).settle(
        [CompletionLine(device.device_id, completed(site, device))]
    )
    assert isinstance(batched, UntrustedError)


def completed(site: Living, device: Device) -> Envelope:
    with site.database.read() as connection:
        row = connection.execute(completions.select().where(completions.c.device_id == str(device.device_id))).one()
    return Envelope.from_json(row.statement)


def past_triggers(connection: Any, *tables: str) -> None:
    """As who owns the tables."""
    sqlite = connection.dialect.name == "sqlite"
    for table in tables:
        for verb in ("update", "delete"):
            of = "" if sqlite else f" ON {table}"
            connection.execute(text(f"DROP TRIGGER {table}_no_{verb}{of}"))


@pytest.mark.parametrize("taken_out", ["act_problem", "pin_problem"])
def test_control_a_registry_that_believes_the_rows_blesses_them(
    site: Living, monkeypatch: pytest.MonkeyPatch, taken_out: str
) -> None:
    monkeypatch.setattr(
        f"registry.pins.{'life' if taken_out == 'act_problem' else 'papers'}.{taken_out}", lambda *_: None
    )
    device, thief = site.device(), Device()
    act, pin = site.act(device, "revoke"), site.made.pin(thief, order_signed=True, made_at=utc(NOW))
    site.now = NOW + timedelta(days=90)
    put_act(site, device, act, "revoke", number=1, state="revoked", at=NOW + DAY)
    put_pin(site, thief, pin, NOW + DAY)
    believed, other = (device, thief) if taken_out == "act_problem" else (thief, device)
    assert site.acts.find(believed.device_id) is not None
    with pytest.raises(UntrustedError):
        site.acts.find(other.device_id)


# ---- left by a crash


@pytest.mark.parametrize("ask", ["find", "history", "again", "batch"])
@pytest.mark.parametrize("days", [0, 6])
def test_what_a_crash_left_gets_its_receipt_also_after_a_new_root(site: Living, ask: str, days: int) -> None:
    device = Device()
    pin = site.made.pin(device, order_signed=True, made_at=utc(NOW))
    left_by_a_crash(site, lambda: site.pins.pin(device.device_id, pin, site.order))
    (due,) = findings(site.database, site.made.trusted, site.now)
    assert due.due
    if days:
        take_up(site, following(site))
    site.now = NOW + timedelta(days=days)
    match ask:
        case "find":
            assert site.pins.find(device.device_id) is not None
        case "history":
            assert site.acts.find(device.device_id) is not None
        case "again":
            assert site.pins.pin(device.device_id, pin, site.order).pin.registered_at.startswith(f"{NOW:%Y-%m-%dT%H}")
        case "batch":
            batch = PinBatch(site.database, site.made.trusted, site.signer, site.pins, now=lambda: site.now)
            (found,) = batch.settle([PinLine(device.device_id, pin, site.order)])
            assert isinstance(found, PinRecord)
    assert list(findings(site.database, site.made.trusted, site.now)) == []
    assert site.read(device).state == "provisional"


@pytest.mark.both_databases
def test_a_completion_that_a_crash_left_gets_its_receipt(site: Living) -> None:
    device = site.device(active=False)
    record = site.pins.find(device.device_id)
    assert record is not None
    done = site.made.completion(device, record.pin.statement, record.pin.receipt)
    left_by_a_crash(site, lambda: site.pins.complete(device.device_id, done))
    take_up(site, following(site))
    site.now = NOW + timedelta(days=3)
    assert site.pins.complete(device.device_id, done).state == "active"
    assert list(findings(site.database, site.made.trusted, site.now)) == []


def test_an_order_that_others_have_approved_since_lets_its_pins_have_their_receipts(site: Living) -> None:
    device, later = Device(), Device()
    pin = site.made.pin(device, order_signed=True, made_at=utc(NOW))
    left_by_a_crash(site, lambda: site.pins.pin(device.device_id, pin, site.order))
    nora = person("nora", "product-owner")
    who = [nora, *(each for name, each in WHO.items() if name != "pia")]
    take_up(site, following(site, approvers=approvers(who)))
    told_nothing(site, device, "receipts")
    order = approved_by(site.made.order_envelope, nora, TWO[1])
    site.pins.pin(later.device_id, site.made.pin(later, order_signed=True, made_at=utc(NOW)), order)
    assert site.pins.pin(device.device_id, pin, order).state == "provisional"


@pytest.mark.both_databases
def test_an_act_that_a_crash_left_is_done_after_a_new_root_and_a_clock_that_was_set_back(site: Living) -> None:
    device = site.device()
    site.now = NOW + timedelta(hours=3)
    site.acts.do(device.device_id, "scrap", site.act(device, "scrap"))
    site.now = NOW + timedelta(hours=1)
    act = site.act(device, "unscrap", was="scrapped")
    left_by_a_crash(site, lambda: site.acts.do(device.device_id, "unscrap", act))
    take_up(site, following(site))
    reading = site.acts.find(device.device_id)
    assert reading is not None
    assert reading.state == "active"
    assert list(findings(site.database, site.made.trusted, site.now)) == []


def test_a_week_later_nothing_is_signed_any_more(site: Living) -> None:
    device = Device(key=ec_key())
    pin = site.made.pin(device, order_signed=True, made_at=utc(NOW))
    left_by_a_crash(site, lambda: site.pins.pin(device.device_id, pin, site.order))
    site.now = NOW + timedelta(days=7, seconds=1)
    told_nothing(site, device, "receipts")
    with pytest.raises(UntrustedError):
        site.pins.pin(device.device_id, pin, site.order)
