"""The way to the registry: real proxies that pass on, refuse, hang or open TLS, each told by name with its remedy."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.tls import make_certificate
from station.cloud import CloudUnreachableError
from station.cloud.http import HttpCloud
from station.cloud.way import Proxy as Told
from station.cloud.way import Way, WayError
from tests.registry.access import access_of
from tests.registry.running import Plant, running
from tests.station.proxies import ISSUER, Proxy, inspecting, listening, serving
from trust.identity import DeviceId

ANY = DeviceId(b"\x01" * 12)
PASSWORD = "hunter2-is-secret"


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as started:
        yield started


def asked(plant: Plant, proxy: Proxy, url: str = "", timeout_s: float = 5.0) -> str:
    """What `station check` is told of the proxy."""

    async def run() -> str:
        async with listening(proxy):
            try:
                return await Way.to(plant.url, url or proxy.url, timeout_s).let_through()
            except WayError as error:
                return f"BAD {error}"

    return asyncio.run(run())


def test_a_proxy_that_lets_through_is_named(plant: Plant) -> None:
    proxy = Proxy()
    told = asked(plant, proxy)
    assert told == f"{proxy.url} lets this station through to localhost:{plant.port}"
    assert proxy.asked[0].startswith(f"CONNECT localhost:{plant.port} HTTP/1.1\r\n")
    assert asyncio.run(Way.to(plant.url, "", 5.0).let_through()) == "none"


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        (Proxy(status="407 Proxy Authentication Required"), ["wants a sign-in (407 Proxy", "http://USER:PASSWORD@HOST:PORT"]),
        (Proxy(status="403 Forbidden"), ["forbids connections to localhost:", "Have its administrators allow this one address"]),
        (Proxy(status="502 Bad\x1b[31m Gateway"), ["cannot come through to localhost:", "(502 Bad", "administrators"]),
        (Proxy(garbage=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), ["is no HTTP proxy", "Correct registry.proxy"]),
        (Proxy(garbage=b"HTTP/1.1 200"), ["is no HTTP proxy"]),
        (Proxy(garbage=b"a" * 100_000), ["is no HTTP proxy"]),
        (Proxy(silent=True), ["does not answer within 0.5 s"]),
    ],
    ids=["407", "403", "502", "another protocol", "cut short", "endless", "silent"],
)  # fmt: skip
def test_a_proxy_that_refuses_is_named_with_the_remedy(plant: Plant, proxy: Proxy, told: list[str]) -> None:
    said = asked(plant, proxy, timeout_s=0.5 if proxy.silent else 5.0)
    assert said.startswith("BAD ") and all(each in said for each in [*told, proxy.url]), said
    assert said.isprintable()


def test_a_proxy_that_is_not_there(plant: Plant) -> None:
    said = asked(plant, Proxy(), url="http://127.0.0.1:9")
    assert said == (
        "BAD no connection to the proxy http://127.0.0.1:9: nobody listens there. Correct registry.proxy, or start the proxy."
    )


def test_a_password_goes_to_the_proxy_and_is_shown_nowhere(plant: Plant) -> None:
    words = base64.b64encode(f"line 7:{PASSWORD}".encode()).decode()
    proxy = Proxy(status="407 Proxy Authentication Required", user=words)
    with serving(proxy):
        url = proxy.url.replace("http://", f"http://line%207:{PASSWORD}@")
        told = asyncio.run(Way.to(plant.url, url, 5.0).let_through())
        assert "http://line 7:***@127.0.0.1" in told
        wrong = Way.to(plant.url, url.replace("hunter2", "hunter3"), 5.0)
        with pytest.raises(WayError, match=r"does not take the user and password of registry\.proxy") as caught:
            asyncio.run(wrong.let_through())
        assert asyncio.run(history(plant, url)) is None
    shown = [told, str(caught.value), repr(Told.parse(url)), repr(wrong), str(wrong)]
    assert not any("hunter" in each for each in shown), shown
    assert all(
        f"Proxy-Authorization: Basic {words}" in each or "hunter3" in wrong.proxy.password for each in proxy.asked
    )


async def history(plant: Plant, proxy: str) -> object:
    cloud = HttpCloud(plant.url, plant.tls_root, access=access_of(plant.made), proxy=proxy, timeout_s=5.0)
    try:
        return await cloud.history(ANY)
    finally:
        await cloud.close()


def test_the_client_speaks_to_the_registry_through_a_real_proxy_and_to_nobody_else(plant: Plant) -> None:
    """With a proxy nothing goes past it: without one that passes on there is no answer."""
    with serving(Proxy()) as proxy:
        assert asyncio.run(history(plant, proxy.url)) is None
        assert [each.split()[1] for each in proxy.asked] == [f"localhost:{plant.port}"]
    with (
        serving(Proxy(status="403 Forbidden")) as refusing,
        pytest.raises(CloudUnreachableError, match=r"the proxy says 403"),
    ):
        asyncio.run(history(plant, refusing.url))
    with pytest.raises(CloudUnreachableError, match=r"by the proxy http://127\.0\.0\.1:9: nobody listens there"):
        asyncio.run(history(plant, "http://127.0.0.1:9"))


def shown(way: Way, root: bytes) -> str | None:
    return asyncio.run(way.shown_instead(root))


def test_a_proxy_that_opens_tls_is_named_by_the_issuer_of_what_it_shows(plant: Plant, tmp_path: Path) -> None:
    with serving(Proxy(opens=inspecting(tmp_path))) as proxy:
        told = shown(Way.to(plant.url, proxy.url, 5.0), plant.tls_root)
        assert told == f"what answers shows a certificate of 'CN=localhost', issued by 'CN={ISSUER}'"
        with pytest.raises(CloudUnreachableError, match=r"does not verify under the trust root's"):
            asyncio.run(history(plant, proxy.url))
    assert not any("GET" in each or "PUT" in each for each in proxy.asked), "it is told nothing"
    with serving(Proxy()) as honest:
        assert shown(Way.to(plant.url, honest.url, 5.0), plant.tls_root) is None, "control: the registry's own"
    assert shown(Way.to(plant.url, "", 5.0), plant.tls_root) is None


def test_a_firewall_that_opens_tls_without_being_asked(tmp_path: Path) -> None:
    """No proxy in the settings: whoever answers at the registry's address is looked at."""
    ours = ssl.PEM_cert_to_DER_cert(make_certificate("localhost", "registry-01")[1].decode())
    context = inspecting(tmp_path, issuer="evil\x1b[31m CA")

    async def run() -> str | None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await Way.to(f"https://localhost:{port}", "", 5.0).shown_instead(ours)

    told = asyncio.run(run())
    assert told is not None and "evil" in told and told.isprintable()


def test_what_cannot_be_looked_at_says_nothing(tmp_path: Path) -> None:
    assert shown(Way.to("https://127.0.0.1:9", "", 1.0), b"") is None
    with serving(Proxy(silent=True)) as proxy:
        assert shown(Way.to("https://127.0.0.1:9", proxy.url, 0.3), b"") is None
