"""A signer that was restored or copied makes no more pins than its lease allows, and is named at its next contact.

Its memory is put back, its token is put back, both are, or the whole machine is copied and both run. What the registry
has taken in the end is counted there; the bound that each case reaches is printed with the figures.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hsm.signer import SignerError
from registry.errors import RefusedError
from registry.leases import rules
from tests.hsm.floor import Device, Floor
from tests.hsm.leased import Leased
from tests.hsm.local_signer import FactoryVerbs
from trust.codes import Code

UNITS = 6


@pytest.fixture
def plant(tmp_path: Path) -> Leased:
    return Leased.make(tmp_path, units=UNITS)


def pins_until_refused(plant: Leased, floor: Floor) -> tuple[int, Code]:
    """As many pins as signer and registry take, and who of them ended it, why."""
    for made in range(4 * UNITS):
        try:
            plant.pin(floor, Device())
        except (SignerError, RefusedError) as error:
            return made, error.code
    raise AssertionError("nothing ended it")


def at_the_registry(plant: Leased) -> int:
    with plant.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM pins").scalar_one())


def named(plant: Leased, signer: FactoryVerbs) -> str:
    """What the registry says when this signer asks for its next lease."""
    with pytest.raises(RefusedError) as caught:
        plant.leases.grant(signer.lease_request())
    assert caught.value.code is Code.LEASE_CONFLICT
    said = str(caught.value)
    assert "signer of station st-01" in said
    assert "call the security officer" in said
    return said


@pytest.mark.parametrize("used", range(UNITS + 1))
def test_a_counters_file_that_was_put_back(
    plant: Leased, used: int, record_property: Callable[[str, object], None]
) -> None:
    """Saved with a lease half used, put back when that and the next one were: at most the rest of one lease more."""
    floor = plant.floor(plant.order())
    plant.renew()
    for _ in range(used):
        plant.pin(floor)

    def used_on() -> None:
        for _ in range(UNITS - used):
            plant.pin(floor)
        plant.renew()
        for _ in range(2):
            plant.pin(floor)

    restored = plant.restored(used_on)
    before = at_the_registry(plant)
    floor = plant.floor(plant.order(), restored)
    extra, code = pins_until_refused(plant, floor)
    assert extra <= UNITS - used, "more than the rest of the lease that was put back"
    assert code in {Code.LEASE_NEEDED, Code.LEASE_EXCEEDED}
    assert at_the_registry(plant) <= 2 * UNITS, "more pins than leases"
    named(plant, restored)
    record_property("figures", f"counters put back with {used} of {UNITS} used: {extra} more pins, {before} before")


def test_a_token_that_was_put_back_alone(plant: Leased) -> None:
    """Its keys are the same and it counts nothing: the counters, which are not old, go on as if nothing had been."""
    floor = plant.floor(plant.order())
    plant.renew()
    shutil.copytree(plant.directory / "factory", plant.directory / "saved", ignore=lambda *_: ["counters.db"])
    for _ in range(3):
        plant.pin(floor)
    shutil.copytree(plant.directory / "saved", plant.directory / "factory", dirs_exist_ok=True)
    again = plant.floor(plant.order(), plant.signer("factory"))
    assert pins_until_refused(plant, again) == (UNITS - 3, Code.LEASE_NEEDED)
    plant.renew(again.factory)


@pytest.mark.parametrize("copies", [2, 3])
def test_whole_machines_that_run_side_by_side(
    plant: Leased, copies: int, record_property: Callable[[str, object], None]
) -> None:
    """The registry takes one lease's worth from all of them together; every copy but the first to ask is named."""
    floor = plant.floor(plant.order())
    plant.renew()
    plant.pin(floor)
    signers = [plant.factory, *(plant.copy_of(f"copy-{number}") for number in range(1, copies))]
    ended = [pins_until_refused(plant, plant.floor(plant.order(), each)) for each in signers]
    assert at_the_registry(plant) == UNITS, "more pins than the lease"
    plant.renew(signers[0])
    for other in signers[1:]:
        assert "asks for lease 2" in named(plant, other)
    record_property("figures", f"{copies} machines: {[made for made, _ in ended]} pins of a lease of {UNITS}, 0 beyond")


def test_what_a_copy_pinned_is_named_when_the_original_asks_again(plant: Leased) -> None:
    """Also if the copy never asks: its pins are not among those that the original reports."""
    plant.renew()
    copy = plant.copy_of("copy")
    device = Device()
    plant.pin(plant.floor(plant.order(), copy), device)
    plant.registry_clock.ahead_s = 3600
    plant.renew()
    plant.registry_clock.ahead_s = 7200
    assert str(device.device_id) in named(plant, plant.factory)


def test_a_copy_that_is_given_the_originals_new_lease_cannot_use_it(plant: Leased) -> None:
    plant.renew()
    copy = plant.copy_of("copy")
    copy.lease_request()
    lease = plant.renew()
    with pytest.raises(SignerError) as caught:
        copy.import_lease(lease)
    assert caught.value.code is Code.LEASE_CONFLICT


def test_a_copy_made_while_a_request_is_open_shares_one_lease_and_is_named_after_it(plant: Leased) -> None:
    """Both hold the same open request, so both may use its lease: the registry still takes one lease's worth."""
    plant.renew()
    plant.factory.lease_request()
    copy = plant.copy_of("copy")
    lease = plant.renew()
    copy.import_lease(lease)
    for each in (plant.factory, copy):
        pins_until_refused(plant, plant.floor(plant.order(), each))
    assert at_the_registry(plant) == UNITS
    plant.renew()
    named(plant, copy)


def test_a_registry_that_does_not_compare_is_caught(plant: Leased, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: it grants what it is asked for and does not count, and copies make twice the pins."""
    monkeypatch.setattr(rules, "require_next", lambda *_: None)
    monkeypatch.setattr("registry.pins.intake.count_pin", lambda *_: True)
    plant.renew()
    copy = plant.copy_of("copy")
    for each in (plant.factory, copy):
        pins_until_refused(plant, plant.floor(plant.order(), each))
    with pytest.raises(AssertionError, match="more pins than the lease"):
        assert at_the_registry(plant) == UNITS, "more pins than the lease"
