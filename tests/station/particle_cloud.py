"""Clouds that the client of Particle's API is tried against: the registry's own door in a thread, and one that lies."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.registry.make import ec_key


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for localhost, as two files and as the PEM that a client trusts."""

    certificate: Path
    key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()

    @classmethod
    def make(cls, place: Path) -> Certificate:
        key, name = ec_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )  # fmt: skip
        found = cls(place / "localhost.crt", place / "localhost.key")
        found.certificate.write_bytes(made.public_bytes(Encoding.PEM))
        found.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return found


@contextmanager
def served(app: ASGIApp, own: Certificate) -> Iterator[str]:
    """The application over HTTPS in a thread of this process; its URL."""
    config = uvicorn.Config(
        app, port=0, log_config=None, lifespan="off", ssl_certfile=own.certificate, ssl_keyfile=own.key
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"https://localhost:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


Answer = tuple[int, str, bytes]
HTML: Answer = (502, "text/html", b"<html><body>502 Bad Gateway</body></html>")


@dataclass(slots=True)
class Liar:
    """Answers what it is told to, and remembers what it was asked."""

    answers: dict[tuple[str, str], Answer]
    asked: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append((scope["method"], scope["path"], body, headers))
        status, kind, said = self.answers.get(
            (scope["method"], scope["path"]), (404, "application/json", b'{"error":"x"}')
        )
        head = [(b"content-type", kind.encode()), (b"content-length", str(len(said)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": said})


def context_of(own: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=own.pem)
