"""What the registry proves of a device now: its first pin, and what acts have made of key and state since then.

For who shows a device or lets it ship. Every signature is verified here, and people's on each act; that the registry
shows its newest act nobody can prove. Never the flow's question: it asks about the pin of its own job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from station import checks
from station.cloud import Cloud, PinRecord
from station.cloud.held import Held, SaidWord
from station.faults import fault
from trust.identity import DeviceId
from trust.pin_act import State
from trust.root import TrustedRoot
from trust.statement import PinStatement, StatementError


class KnowsDevices(Protocol):
    """The registry's word on a device's pin over time. `station.cloud.devices.Devices` is the real one."""

    async def held(self, device: DeviceId) -> Held | None:
        """What is held; None without a pin. CloudUnreachableError, CloudRefusedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NowHeld:
    """A device at the registry. `fingerprint` is that of its newest key, `pin` and `record` are of its first one.

    `words`: of the authority to the device, which no pin shows.
    """

    record: PinRecord
    pin: PinStatement
    state: State
    fingerprint: str
    words: tuple[SaidWord, ...]


async def now_held(root: TrustedRoot, cloud: Cloud, devices: KnowsDevices, device: DeviceId) -> NowHeld | None:
    """None without a pin. CloudUnreachableError, CloudRefusedError; the fault `registry-wrong` if it does not hold."""
    record = await cloud.history(device)
    if record is None:
        return None
    pin = checks.registry_record(root, device, record)
    held = await devices.held(device)
    if held is None:
        raise fault("registry-wrong", "it has a pin of this device, and does not know the device")
    try:
        done, words = held.standing(root), held.words(root)
    except StatementError as error:
        raise fault("registry-wrong", str(error)) from error
    state, fingerprint = (record.state, pin.fingerprint) if done is None else (done.state, done.fingerprint)
    return NowHeld(record=record, pin=pin, state=state, fingerprint=fingerprint, words=words)
