"""Which keys a device may come with, by the registry's own records: active in the field, provisional at its bench."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.pins.reading import UntrustedError
from tests.registry.living import Living, living
from tests.registry.make import public
from trust.identity import DeviceId


@pytest.fixture
def site(database: Database) -> Living:
    return living(database)


@pytest.fixture
def field(site: Living) -> RegistryPins:
    return RegistryPins(database=site.database, trusted=site.made.trusted, now=lambda: site.now)


def test_an_active_pin_is_good_everywhere_and_a_provisional_one_at_its_bench(site: Living, field: RegistryPins) -> None:
    station = next(iter(site.made.order.stations))
    bench = replace(field, station=station)
    active, provisional = site.device(), site.device(active=False)
    assert field.keys_of(active.device_id) == bench.keys_of(active.device_id) == (public(active.key).spki,)
    assert (field.keys_of(provisional.device_id), bench.keys_of(provisional.device_id)) == (
        (), (public(provisional.key).spki,),
    )  # fmt: skip
    assert replace(field, station="somebody-else").keys_of(provisional.device_id) == ()
    assert field.keys_of(DeviceId(b"\x01" * 12)) == ()


def test_a_device_that_was_revoked_or_scrapped_comes_in_nowhere(site: Living, field: RegistryPins) -> None:
    bench = replace(field, station=next(iter(site.made.order.stations)))
    for kind in ("revoke", "scrap"):
        device = site.device()
        site.acts.do(device.device_id, kind, site.act(device, kind))  # type: ignore[arg-type]
        assert field.keys_of(device.device_id) == bench.keys_of(device.device_id) == ()


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
