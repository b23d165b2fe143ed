"""Asking the registry, before a batch, whether it answers, under the same trust root, and can sign receipts."""

from __future__ import annotations

import secrets
from typing import Protocol

from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord, RegistryStatus
from station.finding import NotReadyError
from station.root import difference
from trust.identity import DeviceId
from trust.order import WorkOrder
from trust.root import TrustedRoot


class Registry(Protocol):
    """The registry, as far as it is greeted."""

    async def history(self, device: DeviceId) -> PinRecord | None:
        """What it holds about this device."""

    async def status(self) -> RegistryStatus:
        """What it says of itself."""


async def greet(
    cloud: Registry, root: TrustedRoot, work: WorkOrder | None = None, *, as_ourselves: bool = True
) -> RegistryStatus:
    """What the registry says of itself, asked, as this station, for a device that nobody has, too; NotReadyError.

    The signer makes one client assertion for it; without `as_ourselves` it is not asked. `work`: the order, if it is
    known: units that it has meet the device service would be held without one.
    """
    try:
        status = await cloud.status()
        other = difference("registry", status.root_version, status.root_sha256, root)
        if other is not None:
            raise NotReadyError(other)
        if as_ourselves:
            await cloud.history(DeviceId(secrets.token_bytes(12)))
    except CloudUnreachableError as error:
        raise NotReadyError(f"{error}. Look at registry, network and proxy; units would be held.") from error
    except CloudRefusedError as error:
        raise NotReadyError(f"{error}. No unit is taken until then.") from error
    if status.trouble:
        raise NotReadyError(
            f"{root.root.registry_url} answers, and can sign no receipts: {status.trouble}. Have whoever runs the "
            "registry see to its signer (the cloud's); units would be held."
        )
    wanted = work is not None and bool(work.handshakes) and "service-away" not in work.handshake_waivers
    if wanted and status.device_service:
        raise NotReadyError(
            f"{root.root.registry_url} answers, and no unit can meet the cloud: {status.device_service}. Have whoever "
            "runs the registry start its device service (station-registry devices); units would be held."
        )
    return status
