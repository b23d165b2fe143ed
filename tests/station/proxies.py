"""Real HTTP CONNECT proxies on this machine: one that passes bytes on, those that refuse, and one that opens TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(slots=True)
class Proxy:
    """How a proxy answers; `asked` is every head that it was sent."""

    status: str = ""  # a refusal, "407 Proxy Authentication Required"; empty: it passes on
    user: str = ""  # "USER:PASSWORD" in base64 that it wants
    opens: ssl.SSLContext | None = None  # it answers TLS itself, under its own certificate
    garbage: bytes = b""
    silent: bool = False
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.asked.append(head)
                if self.silent:
                    await asyncio.sleep(30)
                refusal = self.status if not self.user or f"Basic {self.user}" not in head else ""
                if self.garbage or refusal:
                    writer.write(self.garbage or f"HTTP/1.1 {refusal}\r\ncontent-length: 2\r\n\r\nno".encode())
                    await writer.drain()
                else:
                    await self._pass_on(head.split()[1], reader, writer)
        finally:
            writer.close()

    async def _pass_on(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        other_reader, other = await asyncio.open_connection(host, int(port))
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            if self.opens is None:
                await asyncio.gather(pour(reader, other), pour(other_reader, writer))
            else:
                await writer.start_tls(self.opens)
        finally:
            other.close()  # one that is left open is waited for by whom it is to, who ends


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def listening(proxy: Proxy) -> AsyncIterator[Proxy]:
    server = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()


@contextmanager
def serving(proxy: Proxy) -> Iterator[Proxy]:
    """In a thread with a loop of its own, for tests that start processes or loops themselves."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    ended = asyncio.Event()

    async def run() -> None:
        async with listening(proxy):
            ready.set()
            await ended.wait()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(5)
        loop.close()


ISSUER = "Plant IT inspection CA"


def inspecting(directory: Path, host: str = "localhost", issuer: str = ISSUER) -> ssl.SSLContext:
    """As an inspecting proxy has it: a certificate for this host, made on the spot by an authority of its own."""
    now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(host)).issuer_name(_name(issuer)).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )  # fmt: skip
    path = directory / "inspecting.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
