"""What a station is told before a batch about a registry that does not take it for one of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from station.cloud import CloudRefusedError, CloudUnreachableError, PinRecord, RegistryStatus
from station.finding import NotReadyError
from station.greeting import greet
from tests.registry.make import world
from trust.codes import Code
from trust.identity import DeviceId
from trust.order import WorkOrder

TRUSTED = world().trusted


@dataclass(slots=True)
class Registry:
    """Says that it has this root, and of a look-up what it is told to say."""

    says: Exception | None = None
    root_sha256: str = TRUSTED.sha256
    trouble: str = ""
    device_service: str = ""
    asked: list[DeviceId] = field(default_factory=list)

    async def history(self, device: DeviceId) -> PinRecord | None:
        self.asked.append(device)
        if self.says is not None:
            raise self.says
        return None

    async def status(self) -> RegistryStatus:
        return RegistryStatus(
            root_sha256=self.root_sha256, root_version=1, trouble=self.trouble, device_service=self.device_service
        )  # fmt: skip


def told(registry: Registry, work: WorkOrder | None = None, *, as_ourselves: bool = True) -> str:
    with pytest.raises(NotReadyError) as caught:
        asyncio.run(greet(registry, TRUSTED, work, as_ourselves=as_ourselves))
    return str(caught.value)


def test_a_registry_that_takes_the_station() -> None:
    registry = Registry()
    asyncio.run(greet(registry, TRUSTED))
    assert len(registry.asked) == 1


def test_a_registry_that_does_not() -> None:
    unknown = CloudRefusedError(Code.CLIENT_UNKNOWN, "no access token: it names no station 'st-01'; have it enrolled")
    assert told(Registry(unknown)) == f"{unknown}. No unit is taken until then."


def test_no_device_service_where_the_order_wants_one() -> None:
    """Others may work, and those whose order lets that stand; what is said of it comes back all the same."""
    registry = Registry(device_service="no device service is there")
    work = msgspec.structs.replace(world().order, handshakes=("udp",))
    assert "no device service is there. Have whoever" in told(registry, work)
    waived = msgspec.structs.replace(work, handshake_waivers=("service-away",))
    for fine in (None, waived, msgspec.structs.replace(work, handshakes=())):
        said = asyncio.run(greet(registry, TRUSTED, fine))
        assert said.device_service == "no device service is there"
    assert asyncio.run(greet(Registry(), TRUSTED, work)).device_service == ""


def test_another_root_is_what_is_told_and_not_what_comes_of_it() -> None:
    registry = Registry(CloudRefusedError(Code.CLIENT_UNKNOWN, "who?"), root_sha256="cd" * 32)
    assert "trust root" in told(registry) and "who?" not in told(registry)
    assert registry.asked == []


def test_without_its_signer_the_station_asks_only_how_the_registry_is() -> None:
    registry = Registry(CloudUnreachableError("never asked"))
    asyncio.run(greet(registry, TRUSTED, as_ourselves=False))
    assert registry.asked == []
    assert "can sign no receipts: no token" in told(Registry(trouble="no token"), as_ourselves=False)
