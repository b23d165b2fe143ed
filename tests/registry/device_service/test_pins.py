"""Which keys a device may come with, by the registry's own records: active in the field, provisional at its bench."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from registry.database import Database
from registry.device_service.pins import RegistryPins
from registry.device_service.udp.reasons import Reason
from registry.pins.reading import UntrustedError
from tests.registry.device_service.dtls_client import CERTIFICATE, RAW, Client
from tests.registry.device_service.service_end import Meeting, Service
from tests.registry.living import Living, living
from tests.registry.make import ec_key, public
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


def test_a_key_finds_its_device_as_long_as_it_is_good(site: Living, field: RegistryPins) -> None:
    bench = replace(field, station=next(iter(site.made.order.stations)))
    active, provisional, revoked = site.device(), site.device(active=False), site.device()
    site.acts.do(revoked.device_id, "revoke", site.act(revoked, "revoke"))
    spki = {each: public(each.key).spki for each in (active, provisional, revoked)}
    assert [field.good(spki[each]) for each in (active, provisional, revoked)] == [active.device_id, None, None]
    assert [bench.good(spki[each]) for each in (active, provisional, revoked)] == [
        active.device_id, provisional.device_id, None,
    ]  # fmt: skip
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
