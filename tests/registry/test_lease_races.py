"""Leases with many asking at once, as from many processes: each number is granted once, no pin goes beyond the last one.

Negative control: a count that is read before it is written lets more pins in than the lease allows.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from sqlalchemy import select, update

from registry.database import Database
from registry.errors import RefusedError
from registry.pins import intake
from registry.pins.service import PinService
from registry.tables import pins, station_counts
from tests.registry.asking import Asking
from tests.registry.make import Device
from trust.lease import Lease
from trust.root import LeaseTerms, TrustedRoot
from trust.statement import read

pytestmark = pytest.mark.both_databases
CLIENTS = 32
ROOM = 5


@pytest.fixture
def asking(database: Database) -> Asking:
    """A station whose leases are for five pins."""
    made = Asking.make(database)
    few = msgspec.structs.replace(made.made.trusted.root, lease=LeaseTerms(units=ROOM))
    trusted = TrustedRoot(few, made.made.trusted.sha256)
    object.__setattr__(made.made, "trusted", trusted)
    made.signer.trusted = trusted
    return made


def raced(work: Callable[[int], str]) -> Counter[str]:
    """All at once; what each was told."""
    start = threading.Barrier(CLIENTS)

    def one(number: int) -> str:
        start.wait()
        try:
            return work(number)
        except RefusedError as error:
            return error.code.value

    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(one, range(CLIENTS)))


def test_the_same_request_from_many_processes_is_one_lease(asking: Asking, rows: Callable[[str], int]) -> None:
    request = asking.sealed(asking.request())
    leases = asking.leases
    told = raced(lambda _: leases.grant(request).payload_sha256)
    assert list(told.values()) == [CLIENTS], told
    assert (rows("leases"), rows("lease_signatures")) == (1, 1)


def test_of_many_copies_of_a_signer_one_gets_the_number(asking: Asking, rows: Callable[[str], int]) -> None:
    asked = [asking.sealed(asking.request(nonce=f"{number:064x}")) for number in range(CLIENTS)]
    leases = asking.leases
    told = raced(lambda number: "granted" if leases.grant(asked[number]) else "")
    assert told == {"granted": 1, "lease-conflict": CLIENTS - 1}
    assert rows("leases") == 1


def pinned(asking: Asking) -> Counter[str]:
    service, devices = asking.pins, [Device() for _ in range(CLIENTS)]
    statements = [asking.made.pin(each) for each in devices]
    order = asking.made.order_envelope
    return raced(lambda number: service.pin(devices[number].device_id, statements[number], order).state)


def test_no_more_pins_than_the_lease_allows_while_the_next_one_is_asked_for(asking: Asking, database: Database) -> None:
    lease = read(asking.renew(), Lease)
    assert lease.up_to == ROOM
    assert pinned(asking) == {"provisional": ROOM, "lease-exceeded": CLIENTS - ROOM}
    with database.read() as connection:
        there = connection.execute(select(pins.c.statement_sha256)).scalars().all()
    assert read(asking.renew(*map(bytes.fromhex, there)), Lease).up_to == 2 * ROOM
    assert pinned(asking) == {"provisional": ROOM, "lease-exceeded": CLIENTS - ROOM}


def test_control_a_count_that_is_read_first_lets_more_in(
    asking: Asking, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking.renew()
    looked = threading.Barrier(CLIENTS)

    def read_first(service, checked):  # type: ignore[no-untyped-def]
        with database.read() as connection:
            row = connection.execute(select(station_counts.c.pins, station_counts.c.up_to)).one()
        looked.wait()
        if row.pins >= row.up_to:
            raise AssertionError("there was room when all looked")
        return plain(service, checked)

    def count_blindly(connection, station, _at, units=1):  # type: ignore[no-untyped-def]
        more = station_counts.c.pins + units
        connection.execute(
            update(station_counts).where(station_counts.c.station == station).values(pins=more, up_to=99)
        )
        return True

    plain = PinService._try_insert
    monkeypatch.setattr(PinService, "_try_insert", read_first)
    monkeypatch.setattr(intake, "count_pin", count_blindly)
    assert pinned(asking)["provisional"] > ROOM
