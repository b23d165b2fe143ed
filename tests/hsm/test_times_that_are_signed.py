"""Times in what others sign: one that does not exist is refused, one far ahead does not become the signer's own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from tests.hsm.floor import Device
from tests.hsm.leased import Leased
from tests.hsm.software_token import SoftwareToken, sealed
from trust.codes import Code
from trust.lease import Lease
from trust.statement import read

NEVER = ("2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:60Z")
FAR = ("2106-02-07T06:28:15Z", "9999-12-31T23:59:59Z")


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path)


def asked(plant: Leased, **changes: Any) -> Lease:
    """What the registry would grant now, changed."""
    granted = read(plant.leases.grant(plant.factory.lease_request()), Lease)
    return msgspec.structs.replace(granted, **changes)


def refused_lease(plant: Leased, **changes: Any) -> str:
    lease = sealed(SoftwareToken(plant.directory / "cloud"), asked(plant, **changes), "lease")
    with pytest.raises(SignerError) as caught:
        plant.factory.import_lease(lease)
    assert caught.value.code is Code.STATEMENT_INVALID
    return str(caught.value)


@pytest.mark.parametrize("at", NEVER)
def test_an_act_whose_time_does_not_exist_is_refused_and_no_bug(plant: Leased, at: str) -> None:
    """Nobody need have approved it: it was judged before its approvals were."""
    for field in ("made_at", "not_after"):
        with pytest.raises(SignerError, match="is no time that exists") as caught:
            plant.factory.perform_act(plant.act(kind="lift-stop", stop=1, **{field: at}))
        assert caught.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:58Z"])
def test_an_act_at_the_end_of_time_is_refused_and_no_bug(plant: Leased, at: str) -> None:
    with pytest.raises(SignerError):
        plant.factory.perform_act(
            plant.act(kind="lift-stop", stop=1, made_at=at, not_after=at.replace(at[11:], "23:59:59Z"))
        )


@pytest.mark.parametrize("at", NEVER)
def test_a_lease_or_revocation_whose_time_does_not_exist_is_refused(plant: Leased, at: str) -> None:
    for field in ("granted_at", "expires_at"):
        assert "is no time that exists" in refused_lease(plant, **{field: at})
    floor = plant.floor(plant.order())
    with pytest.raises(SignerError, match="is no time that exists"):
        plant.factory.import_revocation(plant.revocation(floor, Device(), revoked_at=at))


@pytest.mark.parametrize("at", FAR)
def test_a_time_far_ahead_does_not_end_every_order_of_the_signer(plant: Leased, at: str) -> None:
    """A registry whose clock has jumped: what it signed meanwhile is refused, and nothing of it stays."""
    floor = plant.floor(plant.order())
    with pytest.raises(SignerError, match="correct the clock that is wrong"):
        plant.factory.import_revocation(plant.revocation(floor, Device(), revoked_at=at))
    if at < "9999":
        later = at.replace("07T", "08T")
        assert "correct the clock that is wrong" in refused_lease(plant, granted_at=at, expires_at=later)
    assert abs(plant.factory.signatory.now() - plant.clock()) < 5
    plant.renew()
    plant.factory.sign_pin(floor.pin(Device()))


def test_a_lease_lasts_no_longer_than_the_root_says_for_either_signer(plant: Leased) -> None:
    at = datetime.now(UTC)
    long = f"{at.replace(year=at.year + 70, day=1):%Y-%m-%dT%H:%M:%SZ}"
    assert "the trust root allows 7 days" in refused_lease(plant, expires_at=long)
    with pytest.raises(SignerError, match="the trust root allows 7 days"):
        plant.cloud.sign_lease(asked(plant, serial=2, expires_at=long))
    plant.renew()
