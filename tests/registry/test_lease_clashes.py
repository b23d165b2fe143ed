"""What the database refuses of a request that its rules let through, told as what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import select

from registry.database import Database
from registry.errors import RefusedError
from registry.leases import store
from registry.tables import station_counts
from tests.registry.asking import Asking
from trust.codes import Code
from trust.lease import Lease
from trust.root import LeaseTerms, TrustedRoot
from trust.statement import read

pytestmark = pytest.mark.both_databases


@pytest.fixture
def asking(database: Database) -> Asking:
    return Asking.make(database)


def refused(asking: Asking, *pins: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        asking.leases.grant(asking.sealed(asking.request(*pins)))
    assert caught.value.code is Code.LEASE_CONFLICT
    said = str(caught.value)
    assert "call the security officer" in said
    return said


@pytest.mark.parametrize("twice", [False, True], ids=["reported before", "twice in one request"])
def test_a_pin_that_is_reported_again_is_told_so(asking: Asking, twice: bool, rows: Callable[[str], int]) -> None:
    pin, other = b"p" * 32, b"o" * 32
    asking.renew()
    asking.renew(*(() if twice else (pin,)))
    for _ in range(2):
        said = refused(asking, *((pin, pin) if twice else (other, pin)))
        assert "reports a pin statement that it has reported before, or one twice" in said
        assert "granted it just now" not in said
    assert (rows("leases"), rows("reported_pins")) == (2, 0 if twice else 1)
    asking.renew(other)


def test_a_root_that_grants_fewer_units_than_before_locks_no_station_out(
    asking: Asking, database: Database, rows: Callable[[str], int]
) -> None:
    """The new lease ends before the old one did: what the old one allowed may be signed for, and stays allowed."""
    asking.renew()
    fewer = msgspec.structs.replace(asking.made.trusted.root, lease=LeaseTerms(units=100))
    asking.made = replace(asking.made, trusted=TrustedRoot(fewer, asking.made.trusted.sha256))
    asking.signer.trusted = asking.made.trusted
    lease = read(asking.renew(b"p" * 32), Lease)
    assert (lease.signed, lease.up_to) == (1, 101)
    with database.read() as connection:
        assert connection.execute(select(station_counts.c.up_to)).scalar_one() == 500
    asking.renew()
    assert rows("leases") == 3


def test_a_request_that_lost_the_race_for_its_number_is_told_so(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, rows: Callable[[str], int]
) -> None:
    """As two writers see it that both looked before either stored: possible where writers do not wait for each other."""
    first, second = asking.request(), asking.request(nonce="cd" * 32)
    asking.leases.grant(asking.sealed(first))
    looked = iter([None])
    real = store.last
    monkeypatch.setattr(store, "last", lambda *asked: next(looked, real(*asked)))
    with pytest.raises(RefusedError, match="asks for lease 1, and another request was granted it just now") as caught:
        asking.leases.grant(asking.sealed(second))
    assert caught.value.code is Code.LEASE_CONFLICT
    assert rows("leases") == 1


def test_the_very_same_request_that_lost_the_race_gets_the_lease(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, rows: Callable[[str], int]
) -> None:
    request = asking.sealed(asking.request())
    lease = asking.leases.grant(request)
    last, same = iter([None]), iter([None])
    real_last, real_same = store.last, store.same
    monkeypatch.setattr(store, "last", lambda *asked: next(last, real_last(*asked)))
    monkeypatch.setattr(store, "same", lambda *asked: next(same, real_same(*asked)))
    assert asking.leases.grant(request) == lease
    assert rows("leases") == 1
