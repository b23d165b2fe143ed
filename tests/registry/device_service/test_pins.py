"""Which keys a device may come with, by the registry's own records: active in the field, provisional at its bench."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from registry.database import Database
from registry.device_service import pins
from registry.device_service.pins import RegistryPins
from registry.device_service.udp.reasons import Reason
from registry.pins.reading import UntrustedError
from registry.pins.rows import Mark
from tests.registry.device_service.dtls_client import CERTIFICATE, RAW, Client
from tests.registry.device_service.service_end import Meeting, Service
from tests.registry.living import Living, living
from tests.registry.make import Device, ec_key, public
from tests.registry.test_acts import ENDS
from trust.identity import DeviceId


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


@pytest.fixture
def field(site: Living) -> RegistryPins:
    return RegistryPins(site.database, site.made.trusted, now=lambda: site.now)


def at_bench(site: Living, field: RegistryPins, device: Device, station: str | None = None) -> bytes | None:
    where = station or next(iter(site.made.order.stations))
    held = field.at_bench(where, device.device_id, str(device.job), site.made.order.service)
    return None if held is None else held.spki


def test_an_active_pin_is_good_everywhere_and_a_provisional_one_at_its_bench(site: Living, field: RegistryPins) -> None:
    active, provisional = site.device(), site.device(active=False)
    assert field.keys_of(active.device_id) == (public(active.key).spki,)
    assert field.keys_of(provisional.device_id) == field.keys_of(DeviceId(b"\x01" * 12)) == ()
    for device in (active, provisional):
        assert at_bench(site, field, device) == public(device.key).spki
        assert at_bench(site, field, device, "somebody-else") is None


def test_a_device_that_was_revoked_or_scrapped_comes_in_nowhere(site: Living, field: RegistryPins) -> None:
    for kind in ("revoke", "scrap"):
        device = site.device()
        site.acts.do(device.device_id, kind, site.act(device, kind))  # type: ignore[arg-type]
        assert (field.keys_of(device.device_id), at_bench(site, field, device)) == ((), None)


def test_a_row_that_somebody_has_edited_is_not_believed(site: Living, field: RegistryPins) -> None:
    device = site.device()
    with site.database.write() as connection:
        connection.execute(text("DROP TRIGGER IF EXISTS pins_never_updated"))
        for (name,) in connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'pins'")
        ):
            connection.execute(text(f"DROP TRIGGER {name}"))
        connection.execute(text("UPDATE pins SET fingerprint = :other"), {"other": "ab" * 32})
    with pytest.raises(UntrustedError):
        field.keys_of(device.device_id)


def test_a_key_finds_its_device_as_long_as_it_is_good(site: Living, field: RegistryPins) -> None:
    active, provisional, revoked = site.device(), site.device(active=False), site.device()
    site.acts.do(revoked.device_id, "revoke", site.act(revoked, "revoke"))
    spki = {each: public(each.key).spki for each in (active, provisional, revoked)}
    assert [field.good(spki[each]) for each in (active, provisional, revoked)] == [active.device_id, None, None]
    assert field.good(public(ec_key()).spki) is None
    assert field.good(b"") is None


def test_a_new_key_finds_its_device_and_the_old_one_as_long_as_it_is_good_too(
    site: Living, field: RegistryPins
) -> None:
    device, new = site.device(), ec_key()
    site.repinned(device, new)
    good = field.keys_of(device.device_id)
    assert field.good(public(new).spki) == device.device_id
    assert (field.good(public(device.key).spki) == device.device_id) is (public(device.key).spki in good)


def readings(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """Each whole reading of a device's record is counted."""
    counted = mock.Mock(wraps=pins.current)
    monkeypatch.setattr(pins, "current", counted)
    return counted


def test_a_record_is_verified_once_until_it_goes_further(
    site: Living, field: RegistryPins, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, counted = site.device(active=False), readings(monkeypatch)
    for _ in range(3):
        assert field.keys_of(made.device_id) == ()
    assert counted.call_count == 1
    site.complete(made)
    for _ in range(3):
        assert field.keys_of(made.device_id) == (public(made.key).spki,)
    assert counted.call_count == 2
    site.acts.do(made.device_id, "revoke", site.act(made, "revoke"))
    for _ in range(3):
        assert field.keys_of(made.device_id) == ()
    assert counted.call_count == 3


def test_a_key_that_was_to_end_ends_at_its_time_without_being_read_again(
    site: Living, field: RegistryPins, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, new = site.device(), ec_key()
    site.repinned(device, new, ends_at=ENDS)
    both = {public(new).spki, public(device.key).spki}
    counted = readings(monkeypatch)
    assert {*field.keys_of(device.device_id)} == both
    site.now += timedelta(days=3650)
    assert field.keys_of(device.device_id) == (public(new).spki,)
    assert counted.call_count == 1


def test_an_act_that_somebody_took_away_does_not_bring_back_what_was_known_before(
    site: Living, field: RegistryPins
) -> None:
    device = site.device()
    assert field.keys_of(device.device_id)
    site.acts.do(device.device_id, "revoke", site.act(device, "revoke"))
    assert not field.keys_of(device.device_id)
    with closing(sqlite3.connect(str(site.database.engine.url.database), isolation_level=None)) as opened:
        opened.execute("PRAGMA foreign_keys = OFF")
        names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'pin_acts'"
        for (name,) in opened.execute(names).fetchall():
            opened.execute(f"DROP TRIGGER {name}")
        opened.execute("DELETE FROM pin_acts")
    with pytest.raises(UntrustedError):
        field.keys_of(device.device_id)


def test_control_a_mark_without_acts_lets_a_revoked_device_in(
    site: Living, field: RegistryPins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first of these tests must see."""
    real = pins.mark_of

    def blind(*words: Any) -> Mark | None:
        found = real(*words)
        return found and replace(found, acts=None)

    monkeypatch.setattr(pins, "mark_of", blind)
    device = site.device()
    assert field.keys_of(device.device_id)
    site.acts.do(device.device_id, "revoke", site.act(device, "revoke"))
    assert field.keys_of(device.device_id)


@pytest.mark.parametrize("kind", [RAW, CERTIFICATE])
def test_the_udp_service_goes_by_them(site: Living, field: RegistryPins, kind: str) -> None:
    """From a handshake to the registry's own records and back: who is provisional or revoked is refused."""
    service = Service()
    active, provisional, revoked = (
        site.device(key=ec_key()),
        site.device(active=False, key=ec_key()),
        site.device(key=ec_key()),
    )
    site.acts.do(revoked.device_id, "revoke", site.act(revoked, "revoke"))
    met = {}
    for device in (active, provisional, revoked):
        assert isinstance(device.key, ec.EllipticCurvePrivateKey)
        service.pins = field  # type: ignore[assignment]
        client = Client(device.key, kind=kind)
        meeting = Meeting(client, service.session(client)).run()
        met[str(device.device_id)] = meeting.session.peer and meeting.session.peer.device_id
        assert meeting.refusal is None or meeting.refusal.reason is Reason.NOT_PINNED
    assert list(met.values()) == [active.device_id, None, None]


def test_the_udp_service_takes_nobody_whose_rows_are_not_believed(site: Living, field: RegistryPins) -> None:
    service, device = Service(), site.device(key=ec_key())
    with site.database.write() as connection:
        for (name,) in connection.execute(
            text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'pins'")
        ):
            connection.execute(text(f"DROP TRIGGER {name}"))
        other = ec_key()
        words = {"mine": public(device.key).fingerprint, "other": public(other).fingerprint}
        connection.execute(text("UPDATE pins SET fingerprint = :other WHERE fingerprint = :mine"), words)
    service.pins = field  # type: ignore[assignment]
    client = Client(other)
    meeting = Meeting(client, service.session(client)).run()
    assert meeting.refusal is not None and meeting.refusal.reason is Reason.FAULT
    assert isinstance(meeting.refusal.__cause__, UntrustedError)
