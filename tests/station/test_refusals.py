"""Which refusal a record proves: each code by its own proof, nonces too, and nothing by a record that is beside the point."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from station.cloud import CloudRefusedError, PinRecord
from station.refusals import refusal_problem
from tests.registry.make import Device, World, rsa_key, signed, world
from tests.station import ledgerkit as kit
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, read

GRAVE = (Code.DEVICE_HAS_OTHER_KEY, Code.KEY_ON_OTHER_DEVICE, Code.PINNED_UNDER_OTHER_JOB, Code.JOB_BYTES_DIFFER)


@pytest.fixture(scope="module")
def made() -> World:
    return world()


def provisional(made: World, device: Device, pin: Envelope | None = None) -> PinRecord:
    pin = pin or made.pin(device)
    return PinRecord(state="provisional", statement=pin, receipt=kit.receipt_for(made, pin))


def finished(made: World, device: Device, pinned: PinRecord | None = None) -> PinRecord:
    pinned = pinned or provisional(made, device)
    done = made.completion(device, pinned.statement, pinned.receipt)
    return replace(pinned, state="active", completion=done, completion_receipt=kit.receipt_for(made, done))


def proved(made: World, statement: Envelope, shown: PinRecord) -> set[Code]:
    """The codes that are believed with this record."""
    return {
        code for code in GRAVE if refusal_problem(made.trusted, statement, CloudRefusedError(code, "", shown)) is None
    }


def pin_with(made: World, device: Device, signature: bytes) -> Envelope:
    """A pin statement of this device that carries another one's signature, and so its nonce."""
    right = made.pin_statement(device)
    stolen = msgspec.structs.replace(right.possession, signatures=(right.possession.signatures[0], signature))
    return made.pin(device, possession=stolen)


def completion_with(made: World, device: Device, pinned: PinRecord, signature: bytes) -> Envelope:
    right = made.completion_statement(device, pinned.statement, pinned.receipt)
    closing = msgspec.structs.replace(right.closing, signature=signature)
    return signed(msgspec.structs.replace(right, closing=closing), made.stations["station-01"].completion)


def nonces_of(record: PinRecord) -> dict[str, bytes]:
    """One signature of each place where a record has some."""
    pin = read(record.statement, PinStatement)
    assert record.completion is not None
    done = read(record.completion, Completion)
    return {
        "proof": pin.possession.signatures[0],
        "second proof": done.verification.possession.signatures[1],
        "report": done.closing.signature,
    }


@pytest.mark.parametrize("place", ["proof", "second proof", "report"])
def test_a_nonce_of_another_device_refuses_a_pin_and_a_completion(made: World, place: str) -> None:
    theirs = finished(made, Device())
    used, device = nonces_of(theirs)[place], Device()
    assert proved(made, pin_with(made, device, used), theirs) == {Code.KEY_ON_OTHER_DEVICE}
    pinned = provisional(made, device)
    assert proved(made, completion_with(made, device, pinned, used), theirs) == {Code.KEY_ON_OTHER_DEVICE}
    beside = finished(made, Device())
    assert proved(made, pin_with(made, device, used), beside) == set()
    assert proved(made, completion_with(made, device, pinned, used), beside) == set()


def test_a_nonce_of_a_completion_that_is_not_shown_proves_nothing(made: World) -> None:
    theirs, device = finished(made, Device()), Device()
    early = replace(theirs, state="provisional", completion=None, completion_receipt=None)
    assert proved(made, pin_with(made, device, nonces_of(theirs)["report"]), early) == set()
    assert proved(made, pin_with(made, device, nonces_of(theirs)["proof"]), early) == {Code.KEY_ON_OTHER_DEVICE}


def test_one_job_for_two_devices(made: World) -> None:
    mine = Device()
    assert proved(made, made.pin(mine), provisional(made, Device(job=mine.job))) == {Code.JOB_BYTES_DIFFER}
    assert proved(made, made.pin(mine), provisional(made, Device())) == set()


def test_another_rsa_key_is_another_key(made: World) -> None:
    plant, mine = made.with_order(key_type="rsa-2048"), Device(rsa_key(0))
    assert proved(plant, plant.pin(mine), provisional(plant, Device(rsa_key(1)))) == set()
    assert proved(plant, plant.pin(mine), provisional(plant, Device(rsa_key(0)))) == {Code.KEY_ON_OTHER_DEVICE}


def test_the_gravest_speaks(made: World) -> None:
    """The same key and the same job on two devices: keys that repeat endanger the fleet."""
    mine = Device()
    assert proved(made, made.pin(mine), provisional(made, Device(mine.key, job=mine.job))) == {Code.KEY_ON_OTHER_DEVICE}


def test_a_completion_is_refused_by_another_completion_of_the_same_pin_only(made: World) -> None:
    device = Device()
    pinned = provisional(made, device)
    ours = made.completion(device, pinned.statement, pinned.receipt)
    other = finished(made, device, pinned)
    assert proved(made, ours, other) == {Code.JOB_BYTES_DIFFER}
    assert other.completion is not None
    assert proved(made, other.completion, other) == set(), "it is the very one"
    assert proved(made, ours, pinned) == set(), "it is not completed"
    assert proved(made, ours, finished(made, device)) == set(), "another pin of the device"


def test_a_record_that_does_not_hold_proves_nothing(made: World) -> None:
    mine = Device()
    shown = provisional(made, Device(mine.key))
    assert proved(made, made.pin(mine), shown) == {Code.KEY_ON_OTHER_DEVICE}
    for wrong in (
        replace(shown, state="active"),
        replace(shown, receipt=kit.receipt_for(made, shown.statement, job="00" * 16)),
        replace(shown, statement=kit.unsigned(shown.statement)),
        replace(shown, statement=shown.receipt),
    ):
        assert proved(made, made.pin(mine), wrong) == set()
