"""A signer signs within its lease and no further; the registry grants one for exactly the memory that it has seen."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hsm.signer import SignerError
from hsm.token import TokenUnavailableError
from registry.errors import ReceiptUnavailableError, RefusedError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.leased import STATION, Leased
from tests.hsm.local_signer import make_factory, make_registry
from tests.hsm.software_token import SoftwareToken
from tests.registry.make import signed
from trust.codes import Code
from trust.lease import Lease, LeaseRequest, chained
from trust.root import TrustedRoot
from trust.root_file import parse, wrap
from trust.statement import read

UNITS = 5


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path, units=UNITS)


def refused(plant: Leased, floor: object = None) -> SignerError:
    floor = floor or plant.floor(plant.order())
    with pytest.raises(SignerError) as caught:
        floor.factory.sign_pin(floor.pin(Device()))  # type: ignore[attr-defined]
    return caught.value


def test_nothing_is_signed_before_the_first_lease(plant: Leased) -> None:
    error = refused(plant)
    assert (error.code, "no lease yet" in str(error)) == (Code.LEASE_NEEDED, True)
    assert plant.factory.status().pins == 0


def test_exactly_so_many_as_the_lease_says_and_then_the_next_one(plant: Leased) -> None:
    floor = plant.floor(plant.order())
    for number in (1, 2, 3):
        lease = read(plant.renew(), Lease)
        assert (lease.serial, lease.signed, lease.up_to) == (number, (number - 1) * UNITS, number * UNITS)
        for _ in range(UNITS):
            plant.pin(floor)
        assert refused(plant, floor).code is Code.LEASE_NEEDED
    status = plant.factory.status()
    assert (status.tier, status.pins, status.lease.up_to if status.lease else 0) == ("lease", 3 * UNITS, 3 * UNITS)


def test_a_refused_unit_costs_nothing_and_is_signed_for_later(plant: Leased) -> None:
    """Its challenge is not spent, either: the very same statement goes through once there is a lease."""
    floor, device = plant.floor(plant.order()), Device()
    statement = floor.pin(device)
    with pytest.raises(SignerError):
        floor.factory.sign_pin(statement)
    plant.renew()
    assert floor.factory.sign_pin(statement) == floor.factory.sign_pin(statement)
    assert plant.factory.status().orders[0].pins == 1


def test_statements_that_are_signed_already_need_no_lease(plant: Leased) -> None:
    plant.renew()
    floor = plant.floor(plant.order())
    statements = [floor.pin(Device()) for _ in range(UNITS)]
    first = [floor.factory.sign_pin(each) for each in statements]
    assert [floor.factory.sign_pin(each) for each in statements] == first


def test_completions_need_no_lease(plant: Leased) -> None:
    plant.renew()
    floor = plant.floor(plant.order())
    devices = [Device() for _ in range(UNITS)]
    pinned = [(device, *floor.pinned(device)) for device in devices]
    assert refused(plant, floor).code is Code.LEASE_NEEDED
    for device, pin, receipt in pinned:
        floor.factory.sign_completion(floor.completion(device, pin, receipt), pin, receipt)


def test_a_lease_ends_with_its_days_and_setting_the_clock_back_does_not_lengthen_it(plant: Leased) -> None:
    plant.renew()
    floor = plant.floor(plant.order())
    plant.clock.ahead_s = 7 * 24 * 3600 + 60
    assert "ended at" in str(refused(plant, floor))
    plant.clock.ahead_s = -365 * 24 * 3600
    granted = read(plant.leases.grant(plant.factory.lease_request()), Lease)
    assert plant.factory.signatory.now() >= plant.registry_clock() - 2, "earlier than a time that it has seen signed"
    assert granted.serial == 2


def test_request_and_lease_may_be_lost_and_repeated_at_any_point(plant: Leased) -> None:
    request = plant.factory.lease_request()
    assert plant.factory.lease_request() == request
    lease = plant.leases.grant(request)
    assert plant.leases.grant(request) == lease
    plant.factory.import_lease(lease)
    plant.factory.import_lease(lease)
    again = plant.signer("factory")  # started anew
    again.import_lease(lease)
    following = read(again.lease_request(), LeaseRequest)
    assert (following.serial, following.previous_sha256) == (2, lease.payload_sha256)


def test_what_is_signed_while_a_request_is_under_way_is_told_in_the_next(plant: Leased) -> None:
    plant.renew()
    floor = plant.floor(plant.order())
    request = plant.factory.lease_request()
    pins = [plant.pin(floor) for _ in range(3)]
    plant.factory.import_lease(plant.leases.grant(request))
    told = read(plant.factory.lease_request(), LeaseRequest)
    assert told.pins == tuple(bytes.fromhex(each.payload_sha256) for each in pins)
    assert told.head == chained(bytes(32), told.pins)
    plant.renew()


def test_a_lease_that_answers_no_request_of_this_signer_is_refused(plant: Leased) -> None:
    first = plant.renew()
    plant.factory.lease_request()
    for change in ({"serial": 3}, {"station": "st-02"}, {"request_sha256": "ab" * 32}, {"signed": 1}):
        other = msgspec.structs.replace(read(first, Lease), **{"serial": 2, **change})
        forged = plant.cloud.signatory.keys.envelope(
            "lease", Lease.PAYLOAD_TYPE, msgspec.json.encode(other, order="sorted")
        )
        with pytest.raises(SignerError) as caught:
            plant.factory.import_lease(forged)
        assert caught.value.code is Code.LEASE_CONFLICT, change


def test_a_lease_beyond_the_roots_terms_or_of_another_key_is_refused(plant: Leased) -> None:
    request = plant.factory.lease_request()
    lease = read(plant.leases.grant(request), Lease)
    large = msgspec.structs.replace(lease, up_to=UNITS + 1)
    sign = plant.cloud.signatory.keys.envelope
    for forged in (
        sign("lease", Lease.PAYLOAD_TYPE, msgspec.json.encode(large, order="sorted")),
        sign("receipt", Lease.PAYLOAD_TYPE, msgspec.json.encode(lease, order="sorted")),
        signed(lease, plant.revocation_key),
    ):
        with pytest.raises(SignerError) as caught:
            plant.factory.import_lease(forged)
        assert caught.value.code is Code.STATEMENT_INVALID
    with pytest.raises(SignerError) as caught:
        plant.cloud.sign_lease(large)
    assert caught.value.code is Code.STATEMENT_INVALID


def test_the_cloud_signer_grants_a_number_once_and_none_out_of_turn(plant: Leased) -> None:
    lease = read(plant.leases.grant(plant.factory.lease_request()), Lease)
    assert plant.cloud.sign_lease(lease) == plant.cloud.sign_lease(lease)
    for other in (msgspec.structs.replace(lease, request_sha256="ab" * 32), msgspec.structs.replace(lease, serial=3)):
        with pytest.raises(SignerError) as caught:
            plant.cloud.sign_lease(other)
        assert caught.value.code is Code.LEASE_CONFLICT


def test_a_request_that_is_not_the_stations_own_is_refused(plant: Leased) -> None:
    request = read(plant.factory.lease_request(), LeaseRequest)
    for forged in (
        signed(request, plant.revocation_key),
        plant.factory.signatory.keys.envelope(
            "pin", LeaseRequest.PAYLOAD_TYPE, msgspec.json.encode(request, order="sorted")
        ),
    ):
        with pytest.raises(RefusedError) as caught:
            plant.leases.grant(forged)
        assert caught.value.code is Code.STATEMENT_INVALID


def test_the_registry_takes_no_pin_without_a_lease(plant: Leased) -> None:
    """However the statement came to be signed: here by the signer's token beside its policy."""
    floor = plant.floor(plant.order())
    device = Device()
    statement = floor.pin(device)
    pin = plant.factory.signatory.keys.envelope(
        "pin", statement.PAYLOAD_TYPE, msgspec.json.encode(statement, order="sorted")
    )
    with pytest.raises(RefusedError) as caught:
        plant.pins.pin(device.device_id, pin, floor.order_envelope)
    assert (caught.value.code, STATION in str(caught.value)) == (Code.LEASE_EXCEEDED, True)
    assert plant.pins.find(device.device_id) is None


def test_a_root_that_begins_to_want_leases_locks_no_signer_out_that_has_made_many(tmp_path: Path) -> None:
    """More than one request can report, and more than one lease grants: it catches up, lease by lease."""
    plant = Leased.make(tmp_path, units=5)
    keys = msgspec.structs.replace(plant.trusted.root.registry_keys, lease=b"")
    before = parse(wrap(msgspec.structs.replace(plant.trusted.root, registry_keys=keys)).to_json())
    plant.factory.signatory.counters.close()
    old = make_factory(tmp_path / "factory", "st-01", before, SoftwareToken(tmp_path / "factory"), plant.clock)
    floor = Floor(before, make_order(before, quantity=600, allowance=0), old, plant.cloud)
    for _ in range(512):
        old.sign_pin(floor.pin(Device()))
    old.signatory.counters.close()
    plant.factory = plant.signer("factory")
    reported = [read(plant.renew(), Lease).signed for _ in range(4)]
    assert reported == [500, 505, 510, 512]
    plant.factory.sign_pin(plant.floor(plant.order(order_id="order-2")).pin(Device(), order_id="order-2"))


def lower(plant: Leased, units: int) -> Leased:
    """The same plant under a root with lower terms, everybody started anew."""
    old = plant.trusted
    root = msgspec.structs.replace(
        old.root,
        version=old.root.version + 1,
        previous_sha256=old.sha256,
        lease=msgspec.structs.replace(old.root.lease, units=units),
    )
    plant.trusted = TrustedRoot(root, f"{root.version:02x}" * 32, (*old.earlier, (old.sha256, old.root)))
    plant.factory.signatory.counters.close()
    plant.cloud.signatory.counters.close()
    plant.factory = plant.signer("factory")
    plant.cloud = make_registry(
        plant.directory / "cloud", "reg-01", plant.trusted, SoftwareToken(plant.directory / "cloud")
    )
    return plant


@pytest.mark.parametrize("signed_before", [True, False])
def test_lower_terms_lock_nobody_out_who_was_granted_more(tmp_path: Path, signed_before: bool) -> None:
    """The lease of before is taken as it was granted, signed or not yet; the next one has the lower terms."""
    plant = Leased.make(tmp_path, units=5)
    asked = plant.factory.lease_request()
    if signed_before:
        plant.leases.grant(asked)
    else:
        plant.cloud.signatory.token.fail_next = [TokenUnavailableError("away")]  # type: ignore[attr-defined]
        with pytest.raises(ReceiptUnavailableError):
            plant.leases.grant(asked)
    lower(plant, 3)
    assert read(plant.renew(), Lease).up_to == 5
    floor = plant.floor(plant.order())
    for _ in range(5):
        plant.pin(floor)
    assert read(plant.renew(), Lease).up_to == 8


def test_a_registry_does_not_go_back_to_the_terms_of_long_ago(tmp_path: Path) -> None:
    plant = lower(lower(Leased.make(tmp_path, units=5), 3), 2)
    first = plant.trusted.earlier[0][0]
    lease = Lease(
        environment="demo", root_sha256=first, registry="reg-01", station=STATION, serial=1, request_sha256="cd" * 32,
        signed=0, up_to=5, granted_at="2026-11-22T20:00:00Z", expires_at="2026-11-23T20:00:00Z",
    )  # fmt: skip
    with pytest.raises(SignerError, match="a new lease is under its terms") as found:
        plant.cloud.sign_lease(lease)
    assert found.value.code is Code.WRONG_ROOT


def test_a_new_cloud_signer_goes_on_where_the_registry_is(tmp_path: Path) -> None:
    """Its predecessor's memory is lost, the registry's rows are not; from its first number on it goes on by one."""
    plant = Leased.make(tmp_path, units=5)
    plant.renew()
    plant.renew()
    plant.cloud.signatory.counters.close()
    (tmp_path / "cloud" / "counters.db").unlink()
    plant.cloud = make_registry(tmp_path / "cloud", "reg-01", plant.trusted, SoftwareToken(tmp_path / "cloud"))
    assert read(plant.renew(), Lease).serial == 3
    with pytest.raises(SignerError, match="does not follow"):
        plant.cloud.sign_lease(msgspec.structs.replace(read(plant.renew(), Lease), serial=9))
