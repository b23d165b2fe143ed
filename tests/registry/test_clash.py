"""Why a pin or completion met one that was there before: the gravest finding, shown with the device that stands against it."""

from __future__ import annotations

from typing import Any

import pytest

from registry.errors import RefusedError
from registry.pins import clash
from registry.pins.checks import CheckedPin, check_pin
from registry.pins.closing import CheckedCompletion
from registry.pins.record import Entry, PinRecord
from registry.pins.store import Rival
from tests.registry.make import MADE_AT, Device, World, world
from tests.station.ledgerkit import receipt_for
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Completion, read

OTHER = "ee" * 12


@pytest.fixture(scope="module")
def made() -> World:
    return world()


@pytest.fixture(scope="module")
def checked(made: World) -> CheckedPin:
    device = Device()
    return check_pin(made.trusted, device.device_id, made.pin(device), made.order_envelope)


def rival(checked: CheckedPin, **changes: Any) -> Rival:
    """The very same pin, but for the changes."""
    pin = checked.statement
    same = {"device_id": pin.device_id, "job": pin.job, "fingerprint": pin.fingerprint, "same_modulus": False}
    return Rival(**{**same, "statement_sha256": "00" * 32, **changes})


ANOTHER_KEY = {"fingerprint": "00" * 32}
PINS: dict[str, tuple[list[dict[str, Any]], list[str], Code | None, str]] = {
    "nothing": ([], [], None, ""),
    "its key on another device": ([{"device_id": OTHER}], [], Code.KEY_ON_OTHER_DEVICE, OTHER),
    "its modulus on another device": (
        [{"device_id": OTHER, "same_modulus": True, **ANOTHER_KEY}], [], Code.KEY_ON_OTHER_DEVICE, OTHER,
    ),
    "its nonce on another device": ([], [OTHER], Code.KEY_ON_OTHER_DEVICE, OTHER),
    "its nonce on this device": ([{"job": "00" * 16}], ["own"], Code.PINNED_UNDER_OTHER_JOB, "own"),
    "its nonce on both": ([{"job": "00" * 16}], ["own", OTHER], Code.KEY_ON_OTHER_DEVICE, OTHER),
    "another key on it": ([ANOTHER_KEY], [], Code.DEVICE_HAS_OTHER_KEY, "own"),
    "another key on it, with the same modulus": (
        [{"same_modulus": True, **ANOTHER_KEY}], [], Code.DEVICE_HAS_OTHER_KEY, "own",
    ),
    "another job": ([{"job": "00" * 16}], [], Code.PINNED_UNDER_OTHER_JOB, "own"),
    "other bytes": ([{}], [], Code.JOB_BYTES_DIFFER, "own"),
    "its job on another device": ([{"device_id": OTHER, **ANOTHER_KEY}], [], Code.JOB_BYTES_DIFFER, OTHER),
    "all at once": (
        [{"job": "00" * 16}, {"device_id": OTHER}], ["own"], Code.KEY_ON_OTHER_DEVICE, OTHER,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PINS)
def test_the_gravest_finding_about_a_pin(checked: CheckedPin, name: str) -> None:
    rivals, owners, code, holder = PINS[name]
    own = checked.statement.device_id
    found = clash.of_pin(
        checked, [rival(checked, **each) for each in rivals], [own if each == "own" else each for each in owners]
    )
    if code is None:
        assert found is None
        return
    assert found is not None
    assert (found.code, found.holder) == (code, own if holder == "own" else holder)


def entry(statement: Envelope, receipt: Envelope) -> Entry:
    return Entry(statement=statement, registered_at=MADE_AT, receipt=receipt)


def test_the_gravest_finding_about_a_completion(made: World) -> None:
    device = Device()
    pin = made.pin(device)
    receipt = receipt_for(made, pin)
    done, again = (made.completion(device, pin, receipt) for _ in range(2))
    sent = CheckedCompletion(
        device=device.device_id, statement=read(done, Completion), envelope=done, order=made.order, nonces=frozenset()
    )
    own = str(device.device_id)
    open_pin = PinRecord(device=device.device_id, pin=entry(pin, receipt))
    closed, closed_by_another = (
        PinRecord(device=device.device_id, pin=open_pin.pin, completion=entry(each, receipt_for(made, each)))
        for each in (done, again)
    )
    assert clash.of_completion(sent, closed, [own]) is None
    assert clash.of_completion(sent, closed, [OTHER]) is None, "it is the one that is stored"
    for record, owners, code, holder in (
        (closed_by_another, [], Code.JOB_BYTES_DIFFER, own),
        (closed_by_another, [OTHER], Code.JOB_BYTES_DIFFER, own),
        (open_pin, [OTHER], Code.KEY_ON_OTHER_DEVICE, OTHER),
        (open_pin, [own, OTHER], Code.KEY_ON_OTHER_DEVICE, OTHER),
    ):
        found = clash.of_completion(sent, record, owners)
        assert found is not None
        assert (found.code, found.holder) == (code, holder)
    with pytest.raises(RefusedError, match="one nonce for two messages") as caught:
        clash.of_completion(sent, open_pin, [own])
    assert caught.value.code is Code.PROOF_INVALID
    with pytest.raises(AssertionError, match="nothing stored says why"):
        clash.of_completion(sent, open_pin, [])
