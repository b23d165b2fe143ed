"""A pin statement in the registry's answer is of this environment and root, whatever an order says of it besides."""

from __future__ import annotations

import pytest

from station.checks import registry_record
from station.cloud import PinRecord
from station.faults import Fault
from tests.registry.make import Device, world
from tests.station.ledgerkit import receipt_for


def test_a_right_record_is_believed() -> None:
    made, device = world(), Device()
    pin = made.pin(device)
    record = PinRecord(state="provisional", statement=pin, receipt=receipt_for(made, pin))
    assert registry_record(made.trusted, device.device_id, record).job == str(device.job)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"environment": "site-1"}, "pin statement: environment"), ({"root_sha256": "00" * 32}, "none of the versions")],
)
def test_another_environments_or_roots_is_not(change: dict[str, str], words: str) -> None:
    made, device = world(), Device()
    pin = made.pin(device, **change)
    record = PinRecord(state="provisional", statement=pin, receipt=receipt_for(made, pin))
    with pytest.raises(Fault, match=words) as caught:
        registry_record(made.trusted, device.device_id, record)
    assert caught.value.code == "registry-wrong"


def test_another_devices_is_not() -> None:
    made, device = world(), Device()
    pin = made.pin(device)
    record = PinRecord(state="provisional", statement=pin, receipt=receipt_for(made, pin))
    with pytest.raises(Fault, match="asked for") as caught:
        registry_record(made.trusted, Device().device_id, record)
    assert caught.value.code == "registry-wrong"
