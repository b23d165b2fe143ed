"""The tunnel (docs/wire.md §4.8) as the station meets it: the same tests for every kind of device."""

import dataclasses

import pytest

from fixtures.device import Device, RefusalReason, TunnelFault, Tunnelled, TunnelState
from tests.contract.nests import Nest
from tests.contract.parties import generated, tcp_anchor, udp_anchor
from tests.contract.test_contract import refusal
from tests.firmware.tunnelling import Conversing, Pin, Service, new_rsa, spki_of
from tests.firmware.udp_tunnelling import Cloud
from tests.firmware.udp_tunnelling import Service as UdpService
from trust.identity import JobId
from trust.keys import KeyType, PublicKey

pytestmark = pytest.mark.anyio
SILENT = Tunnelled(state=TunnelState.CLOSED, sent=b"", more=False)
ESTABLISHED = dataclasses.replace(SILENT, state=TunnelState.ESTABLISHED)


async def carried(device: Device, service: Service) -> Tunnelled:
    """Bytes to and fro until neither side says anything; the device's last answer."""
    data = service.nonce
    while True:
        answer = await device.tunnel_step(data)
        data = service.take(answer.sent)
        if not data:
            return answer


async def handshake(device: Device, service: Service) -> Tunnelled:
    assert await device.tunnel_open() == dataclasses.replace(SILENT, state=TunnelState.RUNNING)
    return await carried(device, service)


@pytest.mark.parametrize("nest", ["memory", "pty", "native"], indirect=True)
async def test_a_device_comes_to_its_service_open_and_locked(nest: Nest, device: Device) -> None:
    """Not on the emulated board, which takes seconds for an RSA key: tests/firmware/test_board.py."""
    cloud = new_rsa()
    stored, _ = await generated(device, KeyType.RSA_2048, JobId.new())
    await device.write_anchor(dataclasses.replace(tcp_anchor(), cloud_key=PublicKey.from_der(spki_of(cloud))))
    pin = Pin(nest.device_id.raw, stored.public_key.spki)
    assert await handshake(device, Conversing(cloud, pin)) == ESTABLISHED
    device = (await nest.slot.cycle(device)).device
    assert await device.tunnel_step(b"\0") == SILENT
    await device.lock(stored.job)
    assert await handshake(device, Conversing(cloud, pin)) == ESTABLISHED
    await device.tunnel_close()
    assert await device.tunnel_step() == SILENT
    await device.close()


async def udp_handshake(device: Device, service: UdpService) -> Tunnelled:
    """Datagrams to and fro until neither side has any; the device's last answer."""
    assert await device.tunnel_open() == dataclasses.replace(SILENT, state=TunnelState.RUNNING, more=True)
    waiting: list[bytes] = []
    while True:
        answer = await device.tunnel_step(waiting.pop(0) if waiting else b"")
        waiting += service.take(answer.sent) if answer.sent else []
        if not waiting and not answer.more:
            return answer


async def test_a_device_comes_to_its_udp_service_open_and_locked_and_to_no_other(nest: Nest, device: Device) -> None:
    cloud, id_bytes = Cloud(), nest.device_id.raw
    stored, _ = await generated(device, KeyType.EC_P256, JobId.new())
    await device.write_anchor(dataclasses.replace(udp_anchor(), cloud_key=PublicKey.from_der(cloud.spki)))
    pinned = stored.public_key.spki
    assert await udp_handshake(device, UdpService(cloud, pinned, device_id=id_bytes)) == ESTABLISHED
    device = (await nest.slot.cycle(device)).device
    assert await device.tunnel_step(b"\0") == SILENT
    await device.lock(stored.job)
    assert await udp_handshake(device, UdpService(cloud, pinned, device_id=id_bytes)) == ESTABLISHED
    last = await udp_handshake(device, UdpService(Cloud(), pinned, device_id=id_bytes))
    assert (last.state, last.fault) == (TunnelState.FAILED, TunnelFault.NOT_TRUSTED)
    await device.close()


async def test_without_key_anchor_or_client_there_is_none(device: Device) -> None:
    assert await device.tunnel_step() == SILENT
    await device.tunnel_close()
    assert await refusal(device.tunnel_open) is RefusalReason.NO_KEY
    await generated(device, KeyType.EC_P256, JobId.new())
    assert await refusal(device.tunnel_open) is RefusalReason.NO_ANCHOR
    await device.write_anchor(udp_anchor())
    assert await device.tunnel_open() == dataclasses.replace(SILENT, state=TunnelState.RUNNING, more=True)
    await device.write_anchor(tcp_anchor())
    assert await refusal(device.tunnel_open) is RefusalReason.OTHER_ALGORITHM
    assert await device.tunnel_step(bytes(640)) == SILENT
