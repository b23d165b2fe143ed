"""The registry's own count of orders: by station, decided by the database, and the papers that it keeps.

Negative control: a count that is read first and written later lets more than one of 64 clients have the last unit.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, text

from registry.checking.leases import raise_findings
from registry.clock import stamp, utc_now
from registry.database import Database
from registry.errors import RefusedError
from registry.leases.service import LeaseService
from registry.orders import counts
from registry.orders.counts import Share
from registry.orders.service import LATE, OrderService
from registry.pins.service import PinService
from tests.registry.approved import ADA, BEN, PIA, QUINN, WHO, approved, approved_world, second
from tests.registry.make import Device, World
from tests.registry.test_api import Api, error
from tests.trust.people import approved_by, approvers, person
from trust.act import Act
from trust.codes import Code
from trust.dsse import Envelope
from trust.order import Allotment
from trust.root import TrustedRoot
from trust.statement import envelope

pytestmark = pytest.mark.both_databases

CLIENTS = 64
ACTS_NOW = datetime(2026, 11, 22, 21, tzinfo=UTC)


def few(made: World, **stations: tuple[int, int]) -> World:
    """The world with other allotments: quantity and allowance by station."""
    parts = {name.replace("_", "-"): Allotment(quantity=q, allowance=a) for name, (q, a) in stations.items()}
    numbers = {
        "quantity": sum(each.quantity for each in parts.values()),
        "allowance": sum(each.allowance for each in parts.values()),
    }
    return made.with_order(stations=parts, **numbers)


def refusal(service: PinService, made: World, device: Device, **changes: Any) -> Code:
    with pytest.raises(RefusedError) as caught:
        service.pin(device.device_id, made.pin(device, **changes), made.order_envelope)
    return caught.value.code


def pin(service: PinService, made: World, device: Device, **changes: Any) -> Envelope:
    return service.pin(device.device_id, made.pin(device, **changes), made.order_envelope).pin.receipt


def test_no_more_pins_than_quantity_and_allowance_of_the_station(service: PinService, made: World) -> None:
    limited = few(made, station_01=(2, 1), station_02=(1, 0))
    first, *more = [Device() for _ in range(4)]
    receipt = pin(service, limited, first)
    for device in more[:2]:
        pin(service, limited, device)
    assert refusal(service, limited, more[2]) is Code.ORDER_EXHAUSTED
    assert service.find(more[2].device_id) is None
    pin(service, limited, more[2], station="station-02")
    assert refusal(service, limited, Device(), station="station-02") is Code.ORDER_EXHAUSTED
    assert receipt, "what was there goes on"


def test_the_same_statement_again_is_answered_when_the_order_is_full(service: PinService, made: World) -> None:
    limited, device = few(made, station_01=(1, 0)), Device()
    statement = limited.pin(device)
    first = service.pin(device.device_id, statement, limited.order_envelope)
    assert refusal(service, limited, Device()) is Code.ORDER_EXHAUSTED
    assert service.pin(device.device_id, statement, limited.order_envelope) == first


def test_a_station_that_the_order_names_without_units_pins_nothing(service: PinService, made: World) -> None:
    limited = few(made, station_01=(1, 0), station_02=(0, 0))
    assert refusal(service, limited, Device(), station="station-02") is Code.ORDER_EXHAUSTED


def test_a_station_that_the_order_does_not_name_pins_nothing(service: PinService, made: World) -> None:
    assert refusal(service, few(made, station_01=(1, 0)), Device(), station="station-02") is Code.ORDER_REFUSES


def test_no_more_completions_than_the_quantity(service: PinService, made: World, database: Database) -> None:
    limited = few(made, station_01=(1, 1))
    devices = [Device(), Device()]
    statements = [limited.pin(each) for each in devices]
    records = [service.pin(d.device_id, s, limited.order_envelope) for d, s in zip(devices, statements, strict=True)]
    done = [limited.completion(d, s, r.pin.receipt) for d, s, r in zip(devices, statements, records, strict=True)]
    first = service.complete(devices[0].device_id, done[0])
    with pytest.raises(RefusedError) as caught:
        service.complete(devices[1].device_id, done[1])
    assert caught.value.code is Code.ORDER_EXHAUSTED
    assert service.complete(devices[0].device_id, done[0]) == first
    with database.write() as connection:  # a completed device was scrapped: its place is free
        counts.free_place(connection, limited.order_envelope.payload_sha256, "station-01")
    assert service.complete(devices[1].device_id, done[1]).state == "active"


def test_a_station_finishes_another_ones_unit_out_of_its_own_quantity(service: PinService, made: World) -> None:
    limited, device = few(made, station_01=(1, 0), station_02=(0, 0)), Device()
    statement = limited.pin(device)
    receipt = service.pin(device.device_id, statement, limited.order_envelope).pin.receipt
    with pytest.raises(RefusedError) as caught:
        service.complete(device.device_id, limited.completion(device, statement, receipt, station="station-02"))
    assert caught.value.code is Code.ORDER_EXHAUSTED
    assert service.complete(device.device_id, limited.completion(device, statement, receipt)).state == "active"


def race(service: PinService, made: World, clients: int = CLIENTS) -> Counter[str]:
    devices = [Device() for _ in range(clients)]
    envelopes = [made.pin(each) for each in devices]
    start = threading.Barrier(clients)

    def one(number: int) -> str:
        start.wait()
        try:
            return service.pin(devices[number].device_id, envelopes[number], made.order_envelope).state
        except RefusedError as error:
            return error.code.value

    with ThreadPoolExecutor(clients) as pool:
        return Counter(pool.map(one, range(clients)))


def test_the_last_unit_has_one_of_64_clients(service: PinService, made: World, rows: Callable[[str], int]) -> None:
    limited = few(made, station_01=(2, 1))
    for _ in range(2):
        pin(service, limited, Device())
    assert race(service, limited) == {"provisional": 1, "order-exhausted": CLIENTS - 1}
    assert rows("pins") == 3


def test_the_first_units_of_an_order_are_raced_for_too(service: PinService, made: World) -> None:
    assert race(service, few(made, station_01=(4, 1))) == {"provisional": 5, "order-exhausted": CLIENTS - 5}


def test_control_a_count_that_is_read_before_it_is_written_lets_more_than_one_have_it(
    service: PinService, made: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(CLIENTS)

    def read_then_write(service: PinService, made: World) -> Counter[str]:
        inner = service._insert_pin

        def check_then_insert(checked: Any) -> Any:
            with database.read() as connection:
                there = connection.execute(text("SELECT count(*) FROM pins")).scalar_one()
            together.wait()  # all have looked before the first of them writes
            if there >= 1:
                raise RefusedError(Code.ORDER_EXHAUSTED, "planted")
            return inner(checked)

        monkeypatch.setattr(service, "_insert_pin", check_then_insert)
        monkeypatch.setattr(counts, "take_pins", _let_all_in)
        return race(service, made)

    assert read_then_write(service, few(made, station_01=(1, 0)))["provisional"] > 1


def _let_all_in(_connection: Connection, _share: Share, _units: int = 1) -> bool:
    return True


def test_approvals_that_came_later_are_kept_beside_the_first(database: Database) -> None:
    made, otto = approved_world(), person("otto", "quality")
    newer = second(made, approvers=approvers([*(each for name, each in WHO.items() if name != "quinn"), otto]))
    service = PinService(database, made.trusted, made.signer())
    old, new = approved(made), approved_by(made.order_envelope, PIA, otto)
    device = Device()
    service.pin(device.device_id, made.pin(device, order_signed=True), old)
    later = PinService(database, newer, replace(made, trusted=newer).signer())
    for device in (Device(), Device()):
        later.pin(device.device_id, made.pin(device, order_signed=True), new)
    sha256 = made.order_envelope.payload_sha256
    with database.read() as connection:
        assert later._intake.papers.admissible(connection, sha256) == new
        assert service._intake.papers.admissible(connection, sha256) == old
        assert connection.execute(text("SELECT count(*) FROM order_approvals")).scalar_one() == 1
        assert later._intake.papers.admissible(connection, "0" * 64) is None


def raising(made: World, units: int, **changes: Any) -> Act:
    act = Act(
        environment="demo", root_sha256=made.trusted.sha256, signer="station-01", kind="raise-allowance",
        reason="spilt a tray of units", order_id=made.order.order_id, order_sha256=made.order_envelope.payload_sha256,
        units=units, nonce="ab" * 32, made_at="2026-11-22T20:00:00Z", not_after="2026-11-23T20:00:00Z",
    )  # fmt: skip
    return msgspec.structs.replace(act, **changes)


@pytest.fixture
def raised(database: Database) -> tuple[World, PinService, OrderService]:
    made = few(approved_world(), station_01=(1, 0))
    service = PinService(database, made.trusted, made.signer())
    device = Device()
    service.pin(device.device_id, made.pin(device, order_signed=True), approved(made))
    return made, service, OrderService(database, made.trusted, now=lambda: ACTS_NOW)


def test_officers_raise_a_station_s_limit_and_each_act_counts_once(
    raised: tuple[World, PinService, OrderService],
) -> None:
    made, service, orders = raised
    act = approved_by(envelope(raising(made, 2)), ADA, BEN)
    for _ in range(2):
        (standing,) = orders.raise_limit(orders.approved(act), act)
        assert (standing.pins, standing.pin_limit, standing.completion_limit) == (1, 3, 1)
    for device in (Device(), Device()):
        service.pin(device.device_id, made.pin(device, order_signed=True), approved(made))
    device = Device()
    with pytest.raises(RefusedError) as caught:
        service.pin(device.device_id, made.pin(device, order_signed=True), approved(made))
    assert caught.value.code is Code.ORDER_EXHAUSTED


def test_an_act_that_does_not_hold_raises_nothing(raised: tuple[World, PinService, OrderService]) -> None:
    made, _, orders = raised
    wrong = [
        (approved_by(envelope(raising(made, 2)), ADA), Code.ACT_NOT_APPROVED),
        (approved_by(envelope(raising(made, 2)), PIA), Code.ACT_NOT_APPROVED),
        (approved_by(envelope(raising(made, 2, order_sha256="cd" * 32)), ADA, BEN), Code.ORDER_UNKNOWN),
        (approved_by(envelope(raising(made, 2, root_sha256="cd" * 32)), ADA, BEN), Code.WRONG_ROOT),
        (approved_by(envelope(raising(made, 2, environment="plant")), ADA, BEN), Code.WRONG_ENVIRONMENT),
        (approved_by(envelope(raising(made, 2, kind="accept-surplus")), ADA, BEN), Code.NOT_AUTHORISED),
        (made.order_envelope, Code.STATEMENT_INVALID),
    ]
    for act, code in wrong:
        with pytest.raises(RefusedError) as caught:
            orders.raise_limit(orders.approved(act), act)
        assert caught.value.code is code
    assert orders.counted(made.order_envelope.payload_sha256)[0].pin_limit == 1
    with pytest.raises(RefusedError) as caught:
        orders.find("ef" * 32)
    assert caught.value.code is Code.ORDER_UNKNOWN


def later(
    raised: tuple[World, PinService, OrderService], trusted: TrustedRoot, after: timedelta, act: Envelope
) -> int | Code:
    """The limit once an act was brought to a registry with this root, so long after it was made; or why not."""
    made, _, orders = raised
    there = OrderService(orders._database, trusted, now=lambda: ACTS_NOW + after)
    try:
        there.raise_limit(there.approved(act), act)
    except RefusedError as error:
        return error.code
    return there.counted(made.order_envelope.payload_sha256)[0].pin_limit


def test_officers_who_have_left_the_root_raise_nothing(raised: tuple[World, PinService, OrderService]) -> None:
    """Not by an act of today that names the version of their time, either. Control: one in which two of them stayed."""
    made = raised[0]
    nora = person("nora", "officer")
    left = second(made, WHO["cleo"], nora, approvers=approvers([WHO["cleo"], PIA, QUINN, nora]))
    stayed = second(made, approvers=approvers([ADA, BEN, PIA, QUINN]))
    act = approved_by(envelope(raising(made, 2)), ADA, BEN)
    assert later(raised, left, timedelta(), act) is Code.ACT_NOT_APPROVED
    assert later(raised, stayed, timedelta(days=3), act) == 3, "what comes late is taken while they are in the root"
    new = approved_by(envelope(raising(made, 2)), WHO["cleo"], nora)
    assert later(raised, left, timedelta(), new) is Code.ACT_NOT_APPROVED, "nora was no officer of the named version"
    today = approved_by(envelope(raising(made, 2, root_sha256=left.sha256)), WHO["cleo"], nora)
    assert later(raised, left, timedelta(), today) == 5


def test_an_act_ends_here_too(raised: tuple[World, PinService, OrderService]) -> None:
    """A month after its own end, for stations that were away. Control: an hour before that."""
    made = raised[0]
    act = approved_by(envelope(raising(made, 2)), ADA, BEN)
    month = timedelta(hours=23) + LATE
    assert later(raised, made.trusted, month + timedelta(seconds=1), act) is Code.ACT_EXPIRED
    assert later(raised, made.trusted, timedelta(days=900), act) is Code.ACT_EXPIRED
    assert later(raised, made.trusted, -timedelta(hours=2), act) is Code.ACT_EXPIRED, "made in our future"
    assert later(raised, made.trusted, month - timedelta(hours=1), act) == 3


def test_what_was_raised_stays_right_when_its_officers_leave(
    raised: tuple[World, PinService, OrderService], database: Database
) -> None:
    """For who checks the rows years later. Control: a row that was taken after the act's end is named."""
    made, _, orders = raised
    act = approved_by(envelope(raising(made, 2)), ADA, BEN)
    orders.raise_limit(orders.approved(act), act)
    nora = person("nora", "officer")
    left = second(made, WHO["cleo"], nora, approvers=approvers([WHO["cleo"], PIA, QUINN, nora]))
    assert list(raise_findings(database, left)) == []
    late = approved_by(envelope(raising(made, 2, nonce="cd" * 32)), ADA, BEN)
    OrderService(database, left, now=lambda: ACTS_NOW + timedelta(days=900)).raise_limit(raising(made, 2), late)
    assert [(each.table, each.key) for each in raise_findings(database, left)] == [
        ("order_raises", late.payload_sha256)
    ]


def test_a_share_s_count_is_one_update_and_never_falls(database: Database, service: PinService, made: World) -> None:
    pin(service, made, Device())
    with database.read() as connection:
        (found,) = counts.counted(connection, made.order_envelope.payload_sha256)
    assert (found.pins, found.pin_limit, found.completions, found.completion_limit) == (1, 505, 0, 500)


def test_the_api_tells_what_is_counted_and_takes_an_act(
    raised: tuple[World, PinService, OrderService], database: Database
) -> None:
    made, service, _orders = raised
    api = Api.make(service, LeaseService(database, made.trusted, made.signer()), database, made)
    path = f"/v1/orders/{made.order_envelope.payload_sha256}"
    share = {"station": "station-01", "pins": 1, "pin_limit": 1, "completions": 0, "completion_limit": 1, "scrapped": 0}
    told = {"order_id": "order-7", "order_sha256": made.order_envelope.payload_sha256, "stations": [share]}
    assert api.ask("GET", path).json() == told
    today = {"made_at": stamp(utc_now()), "not_after": stamp(utc_now() + timedelta(days=1))}
    act = approved_by(envelope(raising(made, 2, **today)), ADA, BEN)
    answer = api.ask("POST", f"{path}/raises", b'{"act":%s}' % act.to_json())
    assert answer.json() == {**told, "stations": [{**share, "pin_limit": 3}]}
    assert error(api.ask("POST", f"/v1/orders/{'e' * 64}/raises", b'{"act":%s}' % act.to_json())) == (
        403,
        "statement-invalid",
    )
    assert error(api.ask("GET", f"/v1/orders/{'e' * 64}")) == (404, "order-unknown")
    assert error(api.ask("POST", f"{path}/raises", b"{}")) == (400, "malformed")
