"""Stock peers and hostile lines: an off-the-shelf client talks to our devices; our driver talks to chatty or broken ones."""

import asyncio
from collections.abc import AsyncIterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import pytest
from smp import error, message
from smp.os_management import OS_MGMT_RET_RC
from smpclient import SMPClient
from smpclient.exceptions import SMPValidationException
from smpclient.generics import error_v1, error_v2, success
from smpclient.requests.image_management import ImageStatesRead
from smpclient.requests.os_management import (
    DateTimeRead,
    EchoWrite,
    MCUMgrParametersRead,
    OSApplicationInfoRead,
    ResetWrite,
)
from smpclient.transport.serial import SMPSerialTransport

from fixtures.bench import boards
from fixtures.bench.boards import InProcessBoard, ProcessBoard
from fixtures.device import DeviceBusyError, RefusalReason, RefusedError
from fixtures.families.smp.driver import SmpDevice
from fixtures.families.smp.emulated import dispatch
from fixtures.families.smp.emulated.faults import Faults
from tests.contract.nests import FIRMWARE, Nest, bench_nest, build
from tests.contract.parties import closing_report, generated, udp_anchor
from trust.identity import JobId
from trust.keys import KeyType

pytestmark = pytest.mark.anyio
NATIVE = FIRMWARE / "build/native/firmware"


def erase(flash: Path) -> None:
    """The chip before the silicon's own station wrote its factory page."""
    flash.write_bytes(b"\xff" * (1 << 20))


@pytest.fixture
async def client(nest: Nest) -> AsyncIterator[SMPClient]:
    if nest.kind == "memory":
        pytest.skip("a client by others needs a port; the kind `pty` has one")
    async with SMPClient(SMPSerialTransport(), nest.slot.config.port) as connected:
        yield connected


async def test_a_stock_client_talks_to_the_device(client: SMPClient) -> None:
    # 512 characters take more than one line each way.
    for text in ("hello", "x" * 512):
        answer = await client.request(EchoWrite(d=text))
        assert success(answer)
        assert answer.r == text
    answer = await client.request(EchoWrite(d="größer"))
    assert error_v1(answer), "text is ASCII on this wire"
    assert answer.rc is error.MGMT_ERR.EINVAL
    parameters = await client.request(MCUMgrParametersRead())
    assert success(parameters)
    assert (parameters.buf_size, parameters.buf_count) == (1024, 1)
    info = await client.request(OSApplicationInfoRead())
    assert success(info)
    assert info.output
    assert success(await client.request(ResetWrite()))


class ProvisioningError(IntEnum):
    BUSY = 3
    NO_KEY = 5


class ProvisioningErrorV1(error.ErrorV1):
    _GROUP_ID = 65


class ProvisioningErrorV2(error.ErrorV2[ProvisioningError]):
    _GROUP_ID = 65


class PublicKeyAnswer(message.ReadResponse):
    _GROUP_ID, _COMMAND_ID = 65, 3
    spki: bytes
    job: bytes


class PublicKeyRead(message.ReadRequest):
    """The group as somebody else's client would write it down: the library takes any group's requests."""

    _GROUP_ID, _COMMAND_ID = 65, 3
    _Response, _ErrorV1, _ErrorV2 = PublicKeyAnswer, ProvisioningErrorV1, ProvisioningErrorV2


class UnknownRead(PublicKeyRead):
    _COMMAND_ID = 99


class GenerateAnswer(message.WriteResponse):
    _GROUP_ID, _COMMAND_ID = 65, 1
    st: int


class GenerateWrite(message.WriteRequest):
    _GROUP_ID, _COMMAND_ID = 65, 1
    _Response, _ErrorV1, _ErrorV2 = GenerateAnswer, ProvisioningErrorV1, ProvisioningErrorV2
    alg: int
    job: bytes
    replace: bool


class StatusAnswer(message.ReadResponse):
    _GROUP_ID, _COMMAND_ID = 65, 2
    st: int
    pct: int


class StatusRead(message.ReadRequest):
    _GROUP_ID, _COMMAND_ID = 65, 2
    _Response, _ErrorV1, _ErrorV2 = StatusAnswer, ProvisioningErrorV1, ProvisioningErrorV2


async def test_a_stock_client_is_told_in_its_own_types_what_a_device_does_not_have(client: SMPClient) -> None:
    for unknown in (DateTimeRead(), ImageStatesRead(), UnknownRead()):
        answer = await client.request(unknown)
        assert error_v1(answer), answer
        assert answer.rc is error.MGMT_ERR.ENOTSUP
    answer = await client.request(PublicKeyRead())
    assert error_v2(answer), answer
    assert (answer.err.group, answer.err.rc) == (65, ProvisioningError.NO_KEY)


async def test_that_test_finds_a_general_error_in_a_groups_form(short_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "_NOT_SUPPORTED", {"err": {"group": 0, "rc": 8}})
    async with (
        bench_nest("pty", InProcessBoard(), short_dir) as nest,
        SMPClient(SMPSerialTransport(), nest.slot.config.port) as connected,
    ):
        with pytest.raises(SMPValidationException):
            await connected.request(DateTimeRead())


async def asked_while_a_key_is_made(client: SMPClient, request: Any) -> Any:
    """The answer to a request that surely came in time; a lucky RSA key may be there before it, then another is made."""
    for _ in range(20):
        job = JobId.new().raw
        assert success(await client.request(GenerateWrite(alg=2, job=job, replace=True)))
        answer, status = await client.request(request), await client.request(StatusRead())
        running = status.st == 1
        while status.st == 1:
            await asyncio.sleep(0.02)
            status = await client.request(StatusRead())
        assert status.st == 2
        if running:
            return answer
    pytest.fail("every key was there before the request had been answered")


@pytest.mark.timeout(120)
async def test_a_stock_client_is_told_in_its_own_types_that_a_device_is_busy(client: SMPClient) -> None:
    answer = await asked_while_a_key_is_made(client, EchoWrite(d="anybody there"))
    assert error_v1(answer), answer
    assert answer.rc is error.MGMT_ERR.EBUSY


@pytest.mark.timeout(120)
async def test_group_65_and_others_each_have_their_own_busy(short_dir: Path) -> None:
    async with (
        bench_nest("pty", InProcessBoard(Faults(generation_s=0.5)), short_dir) as nest,
        SMPClient(SMPSerialTransport(), nest.slot.config.port) as connected,
    ):
        assert success(await connected.request(GenerateWrite(alg=1, job=JobId.new().raw, replace=True)))
        for other in (MCUMgrParametersRead(), ImageStatesRead(), DateTimeRead()):
            answer = await connected.request(other)
            assert error_v1(answer), answer
            assert answer.rc is error.MGMT_ERR.EBUSY
        for own in (PublicKeyRead(), UnknownRead()):
            answer = await connected.request(own)
            assert error_v2(answer), answer
            assert (answer.err.group, answer.err.rc) == (65, ProvisioningError.BUSY)


async def test_that_test_finds_a_busy_of_group_65_where_nobody_knows_it(short_dir: Path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "_BUSY", {"err": {"group": 65, "rc": 3}})
    async with (
        bench_nest("pty", InProcessBoard(Faults(generation_s=0.5)), short_dir) as nest,
        SMPClient(SMPSerialTransport(), nest.slot.config.port) as connected,
    ):
        assert success(await connected.request(GenerateWrite(alg=1, job=JobId.new().raw, replace=True)))
        answer = await connected.request(EchoWrite(d="anybody there"))
        assert not error_v1(answer), "the client took it for SMP's own busy"
        assert error_v2(answer), answer
        assert type(answer.err.rc) is OS_MGMT_RET_RC, "3 in the OS group's list is another thing"


async def test_the_driver_knows_both_kinds_of_busy(short_dir: Path) -> None:
    async with bench_nest("pty", InProcessBoard(Faults(generation_s=0.5)), short_dir) as nest:
        device = await nest.slot.open()
        assert isinstance(device, SmpDevice)
        await device.generate(KeyType.EC_P256, JobId.new())
        for verb in (device.info, device.identify):
            with pytest.raises(DeviceBusyError):
                await verb()
        await device.close()


async def test_the_driver_reads_through_boot_text(short_dir: Path) -> None:
    build("native")
    chatty = ProcessBoard(lambda flash: [str(NATIVE), "--flash", str(flash), "--boot-text"], NATIVE)
    async with bench_nest("native", chatty, short_dir) as nest:
        device = await nest.slot.open()
        job = JobId.new()
        key, _ = await generated(device, KeyType.EC_P256, job)
        await device.write_anchor(udp_anchor())
        await device.lock(job)
        device = (await nest.slot.cycle(device)).device
        assert (await closing_report(device, key.public_key)).locked
        await device.close()


@pytest.mark.parametrize("noise", ["stuck", "bias"])
async def test_a_broken_noise_source_is_seen_before_a_key_is_made(noise: str, short_dir: Path) -> None:
    build("native")
    board = ProcessBoard(lambda flash: [str(NATIVE), "--flash", str(flash), "--noise", noise], NATIVE)
    async with bench_nest("native", board, short_dir) as nest:
        device = await nest.slot.open()
        assert not (await device.identify()).rng_healthy
        with pytest.raises(RefusedError) as caught:
            await device.generate(KeyType.EC_P256, JobId.new())
        assert caught.value.reason is RefusalReason.RNG_FAILED
        await device.close()


async def test_a_device_without_a_factory_page_says_so(short_dir: Path) -> None:
    build("native")
    board = boards.native()
    async with bench_nest("native", board, short_dir) as nest:
        device = await nest.slot.open()
        await nest.power_off()
        erase(short_dir / "slots/slot-01/flash.bin")
        await nest.power_on()
        with pytest.raises(RefusedError, match="no factory page") as caught:
            await device.identify()
        assert caught.value.reason is RefusalReason.INVALID
        await device.close()
