"""A registry whose clock has jumped ahead grants nothing: what it stored then would be the newest lease for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry.database import Database
from registry.errors import RefusedError
from registry.roots import take_up
from tests.hsm.floor import Device
from tests.hsm.leased import Leased
from tests.registry.asking import START, Asking
from trust.codes import Code
from trust.lease import Lease
from trust.statement import read

pytestmark = pytest.mark.both_databases

FAR = datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC)
YEAR = timedelta(days=366)


@pytest.fixture
def asking(database: Database) -> Asking:
    return Asking.make(database)


def refused(asking: Asking, made_at: datetime) -> str:
    request = asking.request(made_at=f"{made_at:%Y-%m-%dT%H:%M:%SZ}")
    with pytest.raises(RefusedError) as caught:
        asking.leases.grant(asking.sealed(request))
    assert caught.value.code is Code.STATEMENT_INVALID
    return str(caught.value)


@pytest.mark.parametrize("leases", [0, 1, 3])
def test_far_ahead_nothing_is_granted_or_stored(
    asking: Asking, leases: int, rows: Callable[[str], int], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(leases):
        asking.renew()
    right, asking.now = asking.now, FAR
    said = refused(asking, right)
    assert "clock says 2106-02-07T06:28:15Z, more than 366 days after 2026-11-2" in said
    assert said in caplog.text
    assert rows("leases") == leases
    asking.now = right
    assert read(asking.renew(), Lease).serial == leases + 1


def test_pins_that_were_taken_by_the_wrong_clock_do_not_vouch_for_it(
    asking: Asking, rows: Callable[[str], int]
) -> None:
    asking.renew()
    right, asking.now = asking.now, FAR
    pins = asking.pin(2)
    refused(asking, right)
    asking.now = right
    asking.renew(*pins)
    assert rows("leases") == 2


def test_a_year_is_not_far_and_a_second_more_is(asking: Asking) -> None:
    asking.now = START + YEAR + timedelta(seconds=1)
    refused(asking, START)
    asking.now = START + YEAR
    request = asking.request(made_at=f"{START:%Y-%m-%dT%H:%M:%SZ}")
    asking.leases.grant(asking.sealed(request))


def test_a_request_of_long_ago_is_granted_where_the_registry_was_at_work_since(asking: Asking) -> None:
    """A signer asks the same until it is answered, and its clock may have been wrong when it first asked."""
    for _ in range(3):
        asking.renew()
    asking.leases.grant(asking.sealed(asking.request(made_at="2000-01-01T00:00:00Z")))


def test_a_first_request_by_a_signer_whose_clock_was_behind_is_granted_by_the_roots_time(
    asking: Asking, database: Database
) -> None:
    asking.now = datetime.now(UTC)
    refused(asking, datetime(2000, 1, 1, tzinfo=UTC))
    take_up(database, asking.made.trusted)
    asking.leases.grant(asking.sealed(asking.request(made_at="2000-01-01T00:00:00Z")))


def test_a_request_of_a_time_that_does_not_exist_is_refused(asking: Asking) -> None:
    with pytest.raises(RefusedError, match="is no time that exists") as caught:
        asking.leases.grant(asking.sealed(asking.request(made_at="2026-13-01T00:00:00Z")))
    assert caught.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize("renewals", [0, 2])
def test_with_a_real_signer_the_station_goes_on_when_the_clock_is_right_again(plant: Leased, renewals: int) -> None:
    floor = plant.floor(plant.order())
    for _ in range(renewals):
        plant.renew()
        plant.pin(floor)
    plant.registry_clock.ahead_s = (FAR - datetime.now(UTC)).total_seconds()
    for _ in range(2):
        with pytest.raises(RefusedError, match="until the clock that is wrong is set"):
            plant.renew()
    plant.registry_clock.ahead_s = 0
    plant.renew()
    plant.pin(floor)
    plant.renew()


@pytest.mark.parametrize("days", [365, 367])
def test_registry_and_signer_mean_the_same_by_far(plant: Leased, days: int) -> None:
    """What the registry grants its signer takes: no lease is stored that stops the station."""
    plant.registry_clock.ahead_s = days * 24 * 3600
    if days < YEAR.days:
        plant.renew()
        plant.factory.sign_pin(plant.floor(plant.order()).pin(Device()))
    else:
        with pytest.raises(RefusedError, match="366 days"):
            plant.renew()


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path)
