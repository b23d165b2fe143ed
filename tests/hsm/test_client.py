"""The clients turn every way of not answering into one error, find a restarted signer again, and serve many at once."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hsm import connection, line
from hsm.client import ReceiptClient, SignerClient
from hsm.messages import LENGTH, Nothing, frame, refused
from hsm.signer import Signer, SignerError, SignerUnavailableError
from hsm.token import TokenPinWrongError, TokenUnavailableError
from tests.flow.books import nothing_forgotten
from tests.hsm.floor import Device, Floor
from tests.hsm.local_signer import Parties
from tests.hsm.served import served
from trust.codes import Code
from trust.merkle import EMPTY_ROOT
from trust.signed_note import Head


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "signer.sock"


def test_every_verb_of_the_factory_role(floor: Floor, parties: Parties, path: Path) -> None:
    async def main() -> None:
        async with served(floor.factory, path):
            client: Signer = SignerClient(path)
            await client.import_order(floor.order_envelope)
            device = Device()
            pin = await client.sign_pin(floor.pin(device, await client.challenge(floor.challenge_request(device))))
            receipt = floor.cloud.sign_receipt(floor.receipt(device, pin))
            report = await client.challenge(floor.challenge_request(device, "report"))
            done = floor.completion(device, pin, receipt, closing=device.closing(floor.order, report))
            signed = await client.sign_completion(done, pin, receipt)
            assert signed.signed_by(floor.trusted.root.completion_key("st-01"))
            request = Head(origin="demo/st-01/log", size=0, root_hash=EMPTY_ROOT, old_size=0, proof=())
            assert (await client.sign_checkpoint(request)).startswith("demo/st-01/log\n0\n")
            assert (await client.client_assertion("https://registry.example")).count(".") == 2
            status = await client.status()
            assert status.signatures == {"pin": 1, "completion": 1, "log": 1, "client": 1}
            assert status == floor.factory.status()
            assert isinstance(client, SignerClient)
            await client.close()

    asyncio.run(main())


def test_no_signer_is_unavailable(path: Path) -> None:
    with pytest.raises(SignerUnavailableError):
        asyncio.run(SignerClient(path).status())
    with pytest.raises(SignerUnavailableError):
        ReceiptClient(path).status()


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (FileNotFoundError(2, "No such file or directory"), "it is not running"),
        (ConnectionRefusedError(111, "Connection refused"), "it is not running"),
        (PermissionError(13, "Permission denied"), "this user, "),
        (OSError(40, "Too many levels of symbolic links"), "Too many levels of symbolic links"),
        (ConnectionResetError("the signer closed the connection"), "the signer closed the connection"),
    ],
)
def test_why_a_signer_cannot_be_asked(error: OSError, why: str) -> None:
    said = str(line.away(Path("/s"), error))
    assert said.startswith(f"no answer from the signer at /s: {why}")
    assert "Errno" not in said


def test_a_directory_in_the_sockets_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignerUnavailableError, match="that is a directory, no socket: correct `socket`"):
        asyncio.run(SignerClient(tmp_path).status())


def test_a_restarted_signer_is_found_again(floor: Floor, path: Path) -> None:
    async def main() -> None:
        client, receipts = SignerClient(path), ReceiptClient(path)
        for _ in range(3):
            async with served(floor.factory, path):
                assert (await client.status()).name == "st-01"
                assert (await asyncio.to_thread(receipts.status)).name == "st-01"
            with pytest.raises(SignerUnavailableError):
                await client.status()
            with pytest.raises(SignerUnavailableError):
                await asyncio.to_thread(receipts.status)
        await client.close()

    asyncio.run(main())


async def _stalled(path: Path, say: bytes | None) -> asyncio.Server:
    """A server that answers each request with these bytes, or with nothing and stays, or (b"") closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(LENGTH.size)
        if say is None:
            await asyncio.sleep(5)
        else:
            writer.write(say)
        writer.close()

    return await asyncio.start_unix_server(serve, path)


NESTED = b'{"v":1,"id":1,"ok":%s}' % (b"[" * 30_000 + b"]" * 30_000)


def test_a_signer_that_ends_leaves_no_error_that_nobody_has_seen() -> None:
    """The connection ends while a request is still being written: the reader tells all who wait, and the write fails."""

    class Slow:
        def write(self, _: bytes) -> None:
            pass

        def close(self) -> None:
            pass

        async def drain(self) -> None:
            await asyncio.sleep(0.02)
            raise BrokenPipeError

    async def main() -> None:
        async with nothing_forgotten():
            reader = asyncio.StreamReader()
            line = connection.Connection(reader, Slow())  # type: ignore[arg-type]
            asking = asyncio.create_task(line.ask("status", Nothing()))
            await asyncio.sleep(0)
            reader.feed_eof()
            with pytest.raises(ConnectionError):
                await asking
            await line.close()
            del line, asking

    asyncio.run(main())


@pytest.mark.parametrize(
    "say",
    [None, b"", b"\x00\x00\x00\x05junk!", b"\x00\x00", b"\xff\xff\xff\xff", LENGTH.pack(len(NESTED)) + NESTED],
    ids=["silent", "closes", "no JSON", "cut short", "too long", "nested"],
)
def test_a_signer_that_does_not_answer_sensibly_is_unavailable_or_malformed(path: Path, say: bytes | None) -> None:
    async def main() -> None:
        server = await _stalled(path, say)
        client, receipts = SignerClient(path, timeout_s=0.3), ReceiptClient(path, timeout_s=0.3)
        with pytest.raises(SignerUnavailableError):
            await client.status()
        with pytest.raises((SignerUnavailableError, SignerError)):
            await asyncio.to_thread(receipts.status)
        await client.close()
        server.close()

    asyncio.run(main())


def test_a_code_that_is_not_known_here_is_internal(path: Path) -> None:
    async def main() -> None:
        answer = refused(1, Code.INTERNAL, "from the future")
        data = frame(answer).replace(b'"internal"', b'"obsolete"')
        server = await _stalled(path, data)
        client = SignerClient(path)
        with pytest.raises(SignerError) as caught:
            await client.status()
        assert caught.value.code is Code.INTERNAL
        await client.close()
        server.close()

    asyncio.run(main())


def test_a_token_that_is_away_is_an_unavailable_signer_a_wrong_pin_is_not(
    floor: Floor, parties: Parties, path: Path
) -> None:
    parties.factory_token.fail_next = [TokenUnavailableError("away"), TokenPinWrongError("refused")]

    async def main() -> None:
        async with served(floor.factory, path):
            client = SignerClient(path)
            with pytest.raises(SignerUnavailableError, match="away"):
                await client.client_assertion("https://registry.example")
            with pytest.raises(SignerError) as caught:
                await client.client_assertion("https://registry.example")
            assert caught.value.code is Code.TOKEN_PIN_WRONG
            await client.close()

    asyncio.run(main())


def test_a_request_that_is_too_large_is_refused_before_it_leaves(floor: Floor, path: Path) -> None:
    async def main() -> None:
        async with served(floor.factory, path):
            client = SignerClient(path)
            with pytest.raises(SignerError) as caught:
                await client.client_assertion("x" * 70_000)
            assert caught.value.code is Code.TOO_LARGE
            assert (await client.status()).role == "factory"
            await client.close()

    asyncio.run(main())


def test_a_caller_that_gives_up_does_not_disturb_the_others(floor: Floor, path: Path) -> None:
    async def main() -> None:
        async with served(floor.factory, path):
            client = SignerClient(path)
            await client.status()
            asked = [asyncio.create_task(client.status()) for _ in range(50)]
            await asyncio.sleep(0)
            for each in asked[::2]:
                each.cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert all(not isinstance(each, BaseException) for each in done[1::2])
            await client.close()

    asyncio.run(main())


def test_receipts_from_many_threads(floor: Floor, parties: Parties, path: Path) -> None:
    devices = [Device() for _ in range(24)]
    pins = {id(each): floor.factory.sign_pin(floor.pin(each)) for each in devices[:4]}
    receipts = [floor.receipt(each, pins[id(each)]) for each in devices[:4]] * 6
    stop = threading.Event()
    ready = threading.Event()

    def serve() -> None:
        async def main() -> None:
            async with served(floor.cloud, path):
                ready.set()
                await asyncio.to_thread(stop.wait)

        asyncio.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(5)
        client = ReceiptClient(path)
        with ThreadPoolExecutor(8) as pool:
            signed = list(pool.map(client.sign_receipt, receipts))
        assert len({each.to_json() for each in signed}) == 4
        assert parties.cloud_token.signed["receipt"] == 4
        with pytest.raises(SignerError) as caught:
            client.sign_receipt(floor.receipt(devices[0], pins[id(devices[0])], registry="reg-02"))
        assert caught.value.code is Code.NOT_AUTHORISED
        many = [*receipts * 5, floor.receipt(devices[0], pins[id(devices[0])], registry="reg-02"), *receipts]
        found = client.sign_receipts(many)  # three frames of 48
        assert [isinstance(each, SignerError) for each in found] == [each.registry == "reg-02" for each in many]
        assert [each for each in found if not isinstance(each, SignerError)] == signed * 6
        assert found[len(receipts) * 5].code is Code.NOT_AUTHORISED
        assert parties.cloud_token.signed["receipt"] == 4
        client.close()
    finally:
        stop.set()
        thread.join()
