"""The socket: who may connect, what is a frame, many requests on one connection, and a bug that harms nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hsm import server
from hsm.client import SignerClient
from hsm.messages import MAX_FRAME_BYTES
from hsm.policy import pin as policy_pin
from hsm.signer import SignerError, SignerForbiddenError
from tests.hsm.floor import Device, Floor
from tests.hsm.served import served
from trust.codes import Code

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def framed(message: object) -> bytes:
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">I", len(data)) + data


async def answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    (length,) = struct.unpack(">I", await asyncio.wait_for(reader.readexactly(4), 5))
    return dict(json.loads(await reader.readexactly(length)))


def talk(floor: Floor, path: Path, work: Talk, **options: Any) -> Any:
    async def main() -> Any:
        async with served(floor.factory, path, **options):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return await work(reader, writer)
            finally:
                writer.close()

    return asyncio.run(main())


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "signer.sock"


def test_a_request_by_hand(floor: Floor, path: Path) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed({"v": 1, "verb": "status", "id": 7, "body": {}}))
        got = await answer(reader)
        assert (got["v"], got["id"], got["ok"]["role"]) == (1, 7, "factory")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660  # noqa: PTH116 - one look, not worth a thread

    talk(floor, path, work)
    assert not path.exists(), "the socket goes with the server"


NESTED = b"[" * 30_000 + b"]" * 30_000
MALFORMED = [
    struct.pack(">I", 0),
    struct.pack(">I", MAX_FRAME_BYTES + 1),
    struct.pack(">I", 0xFFFFFFFF),
    framed(b"not json"),
    framed(b"\xff\xfe"),
    framed([]),
    framed({"v": 2, "verb": "status", "id": 1, "body": {}}),
    framed({"verb": "status", "id": 1, "body": {}}),
    framed({"v": 1, "verb": "status", "id": "1", "body": {}}),
    framed({"v": 1, "verb": "status", "id": 1, "body": {}, "more": 1}),
    framed({"v": 1, "verb": "status", "id": 1}),
    framed({"v": 1, "verb": "status", "id": 0, "body": {}}),
    framed({"v": 1, "verb": "status", "id": 2**70, "body": {}}),
    framed({"v": 1, "verb": "status", "id": 1, "body": {}, "x" * 65_470: 1}),
    framed(NESTED),
    framed(b'{"v":1,"verb":"status","id":1,"body":%s}' % NESTED),
    framed(b'{"v":1,"verb":"sign_pin","id":1,"body":{"statement":%s}}' % NESTED),
    framed(b'{"x":' * 10_000 + b"1" + b"}" * 10_000),
    struct.pack(">I", 20) + b"half",
]


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_frame_is_answered_and_ends_the_connection(floor: Floor, path: Path, data: bytes) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.write_eof()
        got = await answer(reader)
        assert got["id"] == 0
        assert got["error"]["code"] in {Code.MALFORMED, Code.TOO_LARGE}
        assert await asyncio.wait_for(reader.read(), 5) == b""

    talk(floor, path, work)


def test_a_frame_of_the_largest_size_is_read(floor: Floor, path: Path) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = json.dumps({"v": 1, "verb": "status", "id": 1, "body": {}}).encode()
        writer.write(framed(data + b" " * (MAX_FRAME_BYTES - len(data))))
        assert "ok" in await answer(reader)

    talk(floor, path, work)


def test_a_frame_that_never_ends_is_given_up(floor: Floor, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FRAME_TIMEOUT_S", 0.1)

    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(struct.pack(">I", 20) + b"half")
        assert (await answer(reader))["error"]["code"] == Code.MALFORMED

    talk(floor, path, work)


@pytest.mark.parametrize(
    ("verb", "body", "code"),
    [
        ("sign", {"bytes": "AAAA"}, Code.NOT_AUTHORISED),
        ("sign_receipt", {"receipt": {}}, Code.NOT_AUTHORISED),
        ("sign_pin", {}, Code.MALFORMED),
        ("sign_pin", {"statement": {"type": "completion"}}, Code.MALFORMED),
        ("challenge", {"purpose": "other", "order_id": "order-1", "job": "00", "device_id": "00"}, Code.MALFORMED),
        ("status", {"more": 1}, Code.MALFORMED),
        ("client_assertion", {"audience": 1}, Code.MALFORMED),
        ("status", {"x" * 65_470: 1}, Code.MALFORMED),
    ],
)
def test_a_request_that_is_not_one_is_refused_and_the_connection_lives(
    floor: Floor, path: Path, verb: str, body: object, code: Code
) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(framed({"v": 1, "verb": verb, "id": 3, "body": body}))
        got = await answer(reader)
        assert (got["id"], got["error"]["code"]) == (3, code)
        writer.write(framed({"v": 1, "verb": "status", "id": 4, "body": {}}))
        assert (await answer(reader))["id"] == 4

    talk(floor, path, work)


def test_many_requests_under_way_on_one_connection(floor: Floor, path: Path) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(1, 201):
            writer.write(framed({"v": 1, "verb": "status", "id": number, "body": {}}))
        assert {(await answer(reader))["id"] for _ in range(200)} == set(range(1, 201))

    talk(floor, path, work)


def test_another_user_is_refused(floor: Floor, path: Path) -> None:
    async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await answer(reader)
        assert (got["id"], got["error"]["code"]) == (0, Code.NOT_AUTHORISED)
        assert await reader.read() == b""

    talk(floor, path, work, allowed_uids={os.geteuid() + 1})


def test_another_user_is_told_so_through_the_client(floor: Floor, path: Path) -> None:
    async def main() -> None:
        async with served(floor.factory, path, {os.geteuid() + 1}):
            with pytest.raises(SignerForbiddenError, match=f"id {os.geteuid()} is not in allowed_uids"):
                await SignerClient(path).status()

    asyncio.run(main())


def test_a_bug_in_a_verb_is_answered_and_nothing_stays_behind(
    floor: Floor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = floor.pin(Device())
    monkeypatch.setattr(policy_pin, "use_challenge", lambda *args: 1 / 0)

    async def main() -> None:
        async with served(floor.factory, path):
            client = SignerClient(path)
            with pytest.raises(SignerError) as caught:
                await client.sign_pin(pin)
            assert caught.value.code is Code.INTERNAL
            monkeypatch.undo()
            assert (await client.sign_pin(pin)).signatures
            assert (await client.status()).resigned == 0
            await client.close()

    asyncio.run(main())


def test_what_is_under_way_is_answered_before_the_server_ends(floor: Floor, path: Path) -> None:
    async def main() -> None:
        async with served(floor.factory, path) as running:
            client = SignerClient(path)
            await client.status()
            asked = [asyncio.create_task(client.client_assertion("https://registry.example")) for _ in range(20)]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            running.stop()
            done = await asyncio.gather(*asked, return_exceptions=True)
            counted = floor.factory.status().signatures["client"]
            assert counted == sum(isinstance(each, str) for each in done), "each counted signature was answered"
            await client.close()

    asyncio.run(main())


@contextmanager
def deaf_client(path: Path) -> Iterator[None]:
    """Asks until nothing more goes down its line, and never reads."""
    with socket.socket(socket.AF_UNIX) as line:
        line.setblocking(False)
        line.connect(str(path))
        with suppress(BlockingIOError):
            while True:
                line.send(framed({"v": 1, "verb": "status", "id": 1, "body": {}}) * 20)
        yield


@pytest.mark.parametrize(("limit_s", "in_time"), [(1.0, True), (60.0, False)], ids=["bounded", "control: no bound"])
def test_a_client_that_never_reads_does_not_keep_the_signer_from_ending(
    floor: Floor, path: Path, monkeypatch: pytest.MonkeyPatch, limit_s: float, in_time: bool
) -> None:
    monkeypatch.setattr(server, "_SEND_TIMEOUT_S", limit_s)

    async def main() -> None:
        async with served(floor.factory, path) as running:
            with deaf_client(path):
                await asyncio.sleep(0.5)
                running.stop()
                _, still = await asyncio.wait(running._connections, timeout=3.0)
                assert (not still) is in_time

    asyncio.run(main())


def test_a_client_that_never_reads_loses_its_connection_and_others_are_served(
    floor: Floor, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SEND_TIMEOUT_S", 0.2)

    async def main() -> None:
        async with served(floor.factory, path) as running:
            with deaf_client(path):
                await asyncio.sleep(0.1)
                (deaf,) = running._connections
                client = SignerClient(path)
                assert (await client.status()).role == "factory"
                assert await asyncio.wait({deaf}, timeout=5) == ({deaf}, set())
                assert (await client.status()).role == "factory"
                await client.close()

    asyncio.run(main())
