"""HttpCloud against a real registry process, and against servers that are no registry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from registry.tls import make_certificate
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.http import HttpCloud
from station.cloud.trouble import trouble
from tests.registry.access import access_of
from tests.registry.make import Device, World, world
from tests.registry.running import Plant, running
from trust.codes import Code
from trust.identity import DeviceId, JobId
from trust.statement import Receipt, verify

ANY = DeviceId(b"\x01" * 12)
HTML = b"<html><body>Access denied by your friendly proxy</body></html>"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


def with_cloud(
    act: Callable[[HttpCloud], Awaitable[None]],
    url: str,
    tls_root: bytes,
    *,
    timeout_s: float = 10.0,
    proxy: str | None = None,
    made: World | None = None,
) -> None:
    async def run() -> None:
        access = None if made is None else access_of(made)
        cloud = HttpCloud(url, tls_root, access=access, timeout_s=timeout_s, proxy=proxy)
        try:
            await act(cloud)
        finally:
            await cloud.close()

    asyncio.run(run())


def test_pin_complete_and_history_over_https(plant: Plant) -> None:
    made, device = plant.made, Device()
    statement = made.pin(device)

    async def act(cloud: HttpCloud) -> None:
        assert await cloud.history(device.device_id) is None
        pinned = await cloud.pin(device.device_id, statement, made.order_envelope)
        assert (pinned.state, pinned.statement, pinned.completion) == ("provisional", statement, None)
        assert (
            verify(pinned.receipt, Receipt, made.trusted.root.receipt_key).statement_sha256 == statement.payload_sha256
        )
        assert await cloud.pin(device.device_id, statement, made.order_envelope) == pinned
        assert await cloud.history(device.device_id) == pinned
        completion = made.completion(device, statement, pinned.receipt)
        done = await cloud.complete(device.device_id, completion)
        assert (done.state, done.statement, done.completion) == ("active", statement, completion)
        assert done.completion_receipt is not None
        assert await cloud.complete(device.device_id, completion) == await cloud.history(device.device_id) == done

    with_cloud(act, plant.url, plant.tls_root, made=plant.made)


def test_a_refusal_carries_code_and_what_is_stored(plant: Plant) -> None:
    made, device = plant.made, Device()
    elsewhere = Device(key=device.key, device_id=device.device_id)

    async def act(cloud: HttpCloud) -> None:
        pinned = await cloud.pin(device.device_id, made.pin(device), made.order_envelope)
        with pytest.raises(CloudRefusedError, match="go on with the stored statement") as caught:
            await cloud.pin(device.device_id, made.pin(elsewhere), made.order_envelope)
        assert (caught.value.code, caught.value.stored) == (Code.PINNED_UNDER_OTHER_JOB, pinned)
        with pytest.raises(CloudRefusedError) as caught:
            await cloud.pin(ANY, made.pin(device), made.order_envelope)
        assert (caught.value.code, caught.value.stored) == (Code.STATEMENT_INVALID, None)

    with_cloud(act, plant.url, plant.tls_root, made=plant.made)


def test_a_completion_without_a_pin_is_a_refusal_and_not_none(plant: Plant) -> None:
    made, device = plant.made, Device()
    statement = made.pin(device)

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudRefusedError) as caught:
            await cloud.complete(device.device_id, made.completion(device, statement, statement))
        assert caught.value.code is Code.NOT_PINNED

    with_cloud(act, plant.url, plant.tls_root, made=plant.made)


def test_a_silent_signer_is_unreachable_and_the_same_request_again_gives_the_receipt(plant: Plant) -> None:
    made, device = plant.made, Device()
    statement, down = made.pin(device), plant.directory / "signer-down"

    async def act(cloud: HttpCloud) -> None:
        down.touch()
        try:
            with pytest.raises(CloudUnreachableError, match="503 token-unavailable"):
                await cloud.pin(device.device_id, statement, made.order_envelope)
        finally:
            down.unlink()
        assert (await cloud.pin(device.device_id, statement, made.order_envelope)).state == "provisional"

    with_cloud(act, plant.url, plant.tls_root, made=plant.made)


def test_only_the_roots_certificate_is_trusted(plant: Plant) -> None:
    """The same registry is refused by a client that was given another root; the control is every other test here."""
    _, other = make_certificate("localhost", "registry-01")

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudUnreachableError, match=r"(?i)certificate"):
            await cloud.history(ANY)

    with_cloud(act, plant.url, ssl.PEM_cert_to_DER_cert(other.decode()))


def test_the_certificate_must_be_for_the_name_that_was_asked(plant: Plant) -> None:
    """0.0.0.0 reaches the same process, under a name that its certificate does not have."""

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudUnreachableError, match=r"(?i)certificate"):
            await cloud.history(ANY)

    with_cloud(act, f"https://0.0.0.0:{plant.port}", plant.tls_root)


def test_proxies_come_from_the_parameter_only(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def works(cloud: HttpCloud) -> None:
        assert await cloud.history(ANY) is None

    async def fails(cloud: HttpCloud) -> None:
        with pytest.raises(CloudUnreachableError):
            await cloud.history(ANY)

    with_cloud(works, plant.url, plant.tls_root, made=plant.made)
    with_cloud(fails, plant.url, plant.tls_root, proxy="http://127.0.0.1:9")


def test_nothing_listens() -> None:
    assert unreachable("https://127.0.0.1:9") == "no connection to https://127.0.0.1:9: nobody listens there"


def test_a_name_that_nobody_knows() -> None:
    error = httpx2.ConnectError("[Errno -2] Name or service not known")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert trouble("https://r", "GET", error) == "no connection to https://r: its name is not known on this machine"
    assert trouble("https://r", "GET", httpx2.ConnectError("")) == "no connection to https://r: it could not be made"


def test_a_stranger_and_a_server_without_tls(tmp_path: Path) -> None:
    async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\r\n")

    async def run() -> tuple[str, str]:
        async with stranger(tmp_path, closing) as (url, _):
            other = await asyncio.to_thread(unreachable, url)
        server = await asyncio.start_server(closing, "127.0.0.1", 0)
        async with server:
            return other, await asyncio.to_thread(
                unreachable, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            )

    other, plain = asyncio.run(run())
    assert "its TLS certificate does not verify under the trust root's (" in other
    assert plain.endswith(": what answers there does not speak TLS")


def unreachable(url: str) -> str:
    """What is said of a registry at this address that cannot be reached: no class names, no error numbers."""
    said = []

    async def act(cloud: HttpCloud) -> None:
        with pytest.raises(CloudUnreachableError) as caught:
            await cloud.history(ANY)
        said.append(str(caught.value))

    with_cloud(act, url, stranger_certificate()[1])
    assert not re.search(r"Errno|Error\b|_ssl\.c|\[SSL", said[0]), said
    return said[0]


def test_settings_that_cannot_work_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="only https"):
        HttpCloud("http://localhost", b"")
    with pytest.raises(ValueError, match="not a DER certificate"):
        HttpCloud("https://localhost", b"nonsense")


# ---- servers that are no registry


def stranger_certificate() -> tuple[tuple[bytes, bytes], bytes]:
    key, certificate = make_certificate("localhost", "stranger")
    return (key, certificate), ssl.PEM_cert_to_DER_cert(certificate.decode())


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stranger(tmp_path: Path, talk: Talk) -> AsyncIterator[tuple[str, bytes]]:
    """A TLS server that is trusted and says what it likes."""
    (key, certificate), der = stranger_certificate()
    (tmp_path / "stranger.pem").write_bytes(key + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "stranger.pem")

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", der


def answer(status: int, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def saying(data: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return talk


def told(tmp_path: Path, talk: Talk, timeout_s: float = 5.0) -> Exception:
    """What history makes of such a server."""

    async def run() -> Exception:
        async with stranger(tmp_path, talk) as (url, der):
            cloud = HttpCloud(url, der, timeout_s=timeout_s)
            try:
                with pytest.raises((CloudUnreachableError, CloudRefusedError)) as caught:
                    await cloud.history(ANY)
            finally:
                await cloud.close()
            return caught.value

    return asyncio.run(run())


def held(**changes: object) -> bytes:
    """A 200 body that would be taken if nothing were changed."""
    made, device = world(), Device()
    statement = json.loads(made.pin(device).to_json())
    whole = {
        "state": "provisional",
        "statement": statement,
        "receipt": statement,
        "completion": None,
        "completion_receipt": None,
    }
    return json.dumps(whole | changes, separators=(",", ":")).encode()


def test_control_the_stranger_is_believed_when_it_speaks_the_api(tmp_path: Path) -> None:
    async def run() -> None:
        async with stranger(tmp_path, saying(answer(200, held()))) as (url, der):
            cloud = HttpCloud(url, der)
            record = await cloud.history(ANY)
            assert record is not None and record.state == "provisional"
            await cloud.close()

    asyncio.run(run())


def error_body(code: str, message: str = "no", stored: object = None) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "stored": stored}}).encode()


NO_ANSWERS = {
    "html with 200": answer(200, HTML),
    "html with 403": answer(403, HTML),
    "html with 502": answer(502, HTML),
    "html with 407": answer(407, HTML),
    "empty 200": answer(200, b""),
    "empty 204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "redirect": answer(302, b"", "location: https://elsewhere.example/"),
    "refusal with 200": answer(200, error_body("not-pinned")),
    "refusal with 302": answer(302, error_body("not-pinned")),
    "our error with 500": answer(500, error_body("internal")),
    "our error with 503": answer(503, error_body("store-failed")),
    "too many requests": answer(429, error_body("too-many-requests"), "retry-after: 7"),
    "unknown code": answer(409, error_body("made-up")),
    "error without stored": answer(409, b'{"error":{"code":"not-pinned","message":"no"}}'),
    "stored is nonsense": answer(409, error_body("device-has-other-key", stored={"state": "provisional"})),
    "unknown state": answer(200, held(state="ended")),
    "no receipt": answer(200, held(receipt=None)),
    "envelope is not one": answer(200, held(statement={"payload": "AA=="})),
    "envelope with spaces": answer(200, held().replace(b'"statement":{', b'"statement":{ ')),
    "control characters": answer(200, held(statement={"payload": "AA==", "\x1b[31m": 1})),
    "nested": answer(200, b"[" * 100_000 + b"]" * 100_000),
    "nested in what nobody reads": answer(200, held()[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "nested in a statement": answer(200, held().replace(b'"statement":{', b'"statement":{"x":' + b'{"x":' * 50_000)),
    "nested in a refusal": answer(
        404, error_body("not-pinned", stored="?").replace(b'"?"', b"[" * 100_000 + b"]" * 100_000)
    ),
    "two documents": answer(200, held() + b"{}"),
    "not utf-8": answer(200, b"\xff\xfe"),
    "compressed": answer(200, b"\x1f\x8b\x08\x00", "content-encoding: gzip"),
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "cut short": answer(200, held())[:-10],
    "nothing": b"",
    "too long": answer(200, b" " * (600 * 1024) + held()),
    "too long without length": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b" " * (600 * 1024) + held(),
}


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_not_exactly_an_answer_is_no_answer(what: str, tmp_path: Path) -> None:
    error = told(tmp_path, saying(NO_ANSWERS[what]))
    assert isinstance(error, CloudUnreachableError)
    assert f"/v1/pins/{ANY}" in str(error)
    assert str(error).isprintable()


@pytest.mark.parametrize(
    ("said", "after_s"),
    [("7", 7.0), ("0", 0.0), ("-7", 0.0), ("1e9", 0.0), ("9" * 400, 0.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0)],
)
def test_how_long_it_wants_not_to_be_asked_is_passed_on(said: str, after_s: float, tmp_path: Path) -> None:
    error = told(tmp_path, saying(answer(429, error_body("too-many-requests"), f"retry-after: {said}")))
    assert isinstance(error, CloudUnreachableError) and error.after_s == after_s


def test_what_was_looked_at_and_failed_is_not_left_alone_for_it(tmp_path: Path) -> None:
    """It may be one statement that the registry fails at: many of them are sent fewer at a time then, and at once."""
    error = told(tmp_path, saying(answer(503, error_body("store-failed"), "retry-after: 7")))
    assert isinstance(error, CloudUnreachableError) and error.after_s == 0.0


def test_a_silent_and_a_dripping_server_cost_no_more_than_the_time_out(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    for talk in (silent, dripping):
        error = told(tmp_path, talk, timeout_s=0.4)
        assert isinstance(error, CloudUnreachableError)
        assert "no answer within 0.4 s" in str(error)


def test_foreign_text_is_shown_without_control_characters(tmp_path: Path) -> None:
    error = told(tmp_path, saying(answer(409, error_body("not-found", "\x1b[31mred\x07\r\n" + "x" * 2000))))
    assert isinstance(error, CloudRefusedError)
    assert str(error).isprintable()
    assert len(str(error)) < 600


def test_one_connection_serves_many_requests(tmp_path: Path) -> None:
    connections = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(404, error_body("not-pinned")))
            await writer.drain()

    async def run() -> None:
        async with stranger(tmp_path, talk) as (url, der):
            cloud = HttpCloud(url, der)
            for _ in range(20):
                assert await cloud.history(DeviceId(JobId.new().raw[:12])) is None
            await cloud.close()

    asyncio.run(run())
    assert len(connections) == 1


Lines = list[tuple[str, int]]
"""What was asked, each with the number of its connection, in the order in which the server had it."""


def busy(lines: Lines, hangs_s: float) -> Talk:
    """A server whose device service hangs: `/v1/handshakes` is answered late, everything else at once."""
    connections = iter(range(1_000))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(connections)
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"content-length: ([0-9]+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            path = head.split()[1].decode()
            lines.append((path, number))
            if path.startswith("/v1/handshakes"):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1), hangs_s)
                    return  # the client has given up
            writer.write(answer(200, held() if path.startswith("/v1/pins") else b"{}"))
            await writer.drain()

    return talk


def test_each_conversation_has_one_connection_and_it_is_kept_for_the_next(tmp_path: Path) -> None:
    """So a balancer of connections keeps it at one process. Control: single requests go by whatever is free."""

    async def talking(cloud: HttpCloud, name: str) -> None:
        with cloud.conversation() as way:
            for _ in range(5):
                await way.asked("POST", f"/v1/handshakes/{name}", b"{}")

    async def run() -> tuple[Lines, Lines]:
        lines: Lines = []
        async with stranger(tmp_path, busy(lines, 0.01)) as (url, der):
            cloud = HttpCloud(url, der)
            for _ in range(2):
                await asyncio.gather(*(talking(cloud, name) for name in "abcdefghijkl"))
            many = lines.copy()
            lines.clear()
            await asyncio.gather(*(cloud.asked("POST", "/v1/handshakes/a", b"{}") for _ in range(12)))
            await cloud.close()
        return many, lines

    many, single = asyncio.run(run())
    numbers = [{number for path, number in turn if path.endswith(name)} for turn in (many[:60], many[60:])
               for name in "abcdefghijkl"]  # fmt: skip
    assert {len(each) for each in numbers} == {1}
    assert len({number for _, number in many}) == 12, "the second time none was opened"
    assert len({number for _, number in single}) > 1


def test_a_device_service_that_hangs_keeps_no_pin_waiting(tmp_path: Path) -> None:
    """Control: as single requests its steps take all turns, and no pin gets one."""

    async def carried(cloud: HttpCloud) -> None:
        with cloud.conversation() as way:
            await way.asked("POST", "/v1/handshakes", b"{}")

    async def single(cloud: HttpCloud) -> None:
        await cloud.asked("POST", "/v1/handshakes", b"{}")

    async def pinned(hanging: Callable[[HttpCloud], Awaitable[None]]) -> list[object]:
        async with stranger(tmp_path, busy([], 30)) as (url, der):
            cloud = HttpCloud(url, der)
            relays = [asyncio.ensure_future(hanging(cloud)) for _ in range(24)]
            await asyncio.sleep(0.3)
            asked = (asyncio.wait_for(cloud.history(ANY), 0.5) for _ in range(4))
            found = await asyncio.gather(*asked, return_exceptions=True)
            for each in relays:
                each.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            await cloud.close()
            return list(found)

    assert not any(isinstance(each, Exception) for each in asyncio.run(pinned(carried)))
    assert {type(each) for each in asyncio.run(pinned(single))} == {TimeoutError}
