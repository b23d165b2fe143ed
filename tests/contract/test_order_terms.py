"""What an order insists upon, one broken term a row: signer, registry, flow and audit each refuse every one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from hsm.signer import SignerError
from registry.errors import RefusedError
from station.faults import Fault
from tests.contract.judges import ON_COMPLETION, ON_PIN, STATION, AuditError, Court, ToldDevice, Unit
from tests.hsm.floor import FIRMWARE, MADE_AT
from trust.codes import Code
from trust.identity import DeviceId, JobId
from trust.order import Allotment, Firmware, SecurityState
from trust.statement import Completion, PinStatement

REFUSALS = (SignerError, RefusedError, Fault, AuditError)
LISTED = tuple(DeviceId(JobId.new().raw[:12]) for _ in range(300))
BEGINS, ENDS = "2026-11-22T19:00:00Z", "2099-11-22T21:00:00Z"
BOTH = {"debug_closed": True, "readout_protected": True}
OTHER_IMAGE = "cd" * 32


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """Its order leaves nothing open."""
    made = Court(
        tmp_path_factory.mktemp("court"),
        stations={STATION: Allotment(quantity=900, allowance=1)},
        not_before=BEGINS,
        not_after=ENDS,
        devices=tuple(map(str, LISTED)),
        firmware=(
            Firmware(sha256=FIRMWARE, version="1.0.0", platform="emulated"),
            Firmware(sha256=OTHER_IMAGE, version="2.0.0"),
        ),
        before_lock=SecurityState(debug_closed=True),
        after_lock=SecurityState(**BOTH),
    )
    yield made
    made.database.close()


@pytest.fixture(scope="module")
def ids() -> Iterator[DeviceId]:
    return iter(LISTED)


def right(court: Court, device: ToldDevice, **changes: Any) -> PinStatement:
    """What its order permits; keywords change what the device says of itself."""
    pin = court.floor.pin(device)
    return msgspec.structs.replace(
        pin, declared=msgspec.structs.replace(pin.declared, **{"debug_closed": True, **changes})
    )


BreakPin = Callable[[Court, ToldDevice], PinStatement]


def declares(**changes: Any) -> BreakPin:
    return lambda court, device: right(court, device, **changes)


def made_at(time: str) -> BreakPin:
    return lambda court, device: msgspec.structs.replace(right(court, device), made_at=time)


def unlisted(court: Court, device: ToldDevice) -> PinStatement:
    device.device_id = DeviceId(JobId.new().raw[:12])
    return right(court, device)


PINS: dict[str, BreakPin] = {
    "a device that is not on the list": unlisted,
    "before the window": made_at("2026-11-22T18:59:59.999999Z"),
    "after the window": made_at("2099-11-22T21:00:00.000001Z"),
    "at no time": made_at("2026-11-31T20:00:00Z"),
    "another version": declares(firmware_version="1.0.1"),
    "another platform": declares(hardware="nrf52"),
    "another image": declares(firmware_sha256="ee" * 32),
    "another image's version": declares(firmware_sha256=OTHER_IMAGE),
    "debug port open": declares(debug_closed=False),
}


@pytest.mark.parametrize("judge", ON_PIN)
@pytest.mark.parametrize(
    "said", [{}, {"readout_protected": True}, {"firmware_sha256": OTHER_IMAGE, "firmware_version": "2.0.0", "hardware": "x"}]
)  # fmt: skip
def test_what_it_permits_is_taken(court: Court, ids: Iterator[DeviceId], judge: str, said: dict[str, Any]) -> None:
    device = ToldDevice(device_id=next(ids))
    ON_PIN[judge](court, device, right(court, device, **said))


@pytest.mark.parametrize("judge", ON_PIN)
@pytest.mark.parametrize("name", PINS)
def test_a_broken_term_is_refused(court: Court, ids: Iterator[DeviceId], name: str, judge: str) -> None:
    device = ToldDevice(device_id=next(ids))
    broken = PINS[name](court, device)
    with pytest.raises(REFUSALS) as caught:
        ON_PIN[judge](court, device, broken)
    if isinstance(caught.value, SignerError | RefusedError):
        assert caught.value.code is Code.ORDER_REFUSES
    assert court.registry.find(device.device_id) is None


def unit(court: Court, device_id: DeviceId, **report: int) -> Unit:
    """A device whose closing report says so, under its own signature."""
    device = ToldDevice(device_id=device_id)
    pin = court.floor.factory.sign_pin(right(court, device))
    receipt = court.registry.pin(device.device_id, pin, court.floor.order_envelope).pin.receipt
    done = court.floor.completion(device, pin, receipt, report=report)
    return Unit(device=device, pin=pin, receipt=receipt, done=done)


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_a_device_in_the_state_that_it_asks_for_is_completed(court: Court, ids: Iterator[DeviceId], judge: str) -> None:
    made = unit(court, next(ids), debug=1, readout=1)
    assert made.done.made_at == MADE_AT
    ON_COMPLETION[judge](court, made, made.done)


@pytest.mark.parametrize("judge", ON_COMPLETION)
@pytest.mark.parametrize("state", [{"debug": 0, "readout": 1}, {"debug": 1, "readout": 0}, {"debug": 0, "readout": 0}])
def test_a_device_in_another_state_is_not(
    court: Court, ids: Iterator[DeviceId], state: dict[str, int], judge: str
) -> None:
    made = unit(court, next(ids), **state)
    with pytest.raises(REFUSALS) as caught:
        ON_COMPLETION[judge](court, made, made.done)
    if isinstance(caught.value, SignerError | RefusedError):
        assert caught.value.code is Code.REPORT_INVALID


@pytest.mark.parametrize("judge", ON_COMPLETION)
def test_what_was_begun_in_time_is_completed_after_the_window(
    court: Court, ids: Iterator[DeviceId], judge: str
) -> None:
    made = unit(court, next(ids), debug=1, readout=1)
    late: Completion = msgspec.structs.replace(made.done, made_at="2099-11-23T00:00:00Z")
    ON_COMPLETION[judge](court, made, late)
