"""What a technician at the station's own account can do, and what came of it: which keys devices and ledger hold.

Has no signer's, registry's or approver's account. Holds no assertion.
"""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from station.demo.bench import firmware_sha256
from station.demo.papers import OrderSpec
from station.root import load_root
from tests.cli.commands import Done, station
from tests.cli.plant import Site
from trust.dsse import Envelope
from trust.proof import ClosingReport
from trust.receipt import problem
from trust.root import TrustedRoot
from trust.statement import Completion, read


@dataclass(slots=True)
class Shift:
    """A site with an approved order, whose settings somebody has edited; `edited` names what was, file or variable."""

    site: Site
    order: Path
    root: TrustedRoot
    slots: Iterator[str]
    config: Path = field(init=False)
    environment: dict[str, str] = field(default_factory=dict)
    undo: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = self.site.config

    @classmethod
    def begin(cls, site: Site, order: str = "shift-1") -> Shift:
        path = site.state / "orders" / f"{order}.json"
        spec = OrderSpec(
            order_id=order, product="demo-ec", product_id=1001, udp=True, meets=False, quantity=50,
            firmware_sha256=firmware_sha256("native"),
        )  # fmt: skip
        root = site.state / "root.json"
        site.parts.papers.make_orders(root, {path: spec})
        return cls(site, path, load_root(root), iter(site.slots))

    # ---- edits, each taken back when the row is over

    def setting(self, old: str, new: str) -> None:
        """An entry of the settings file."""
        self.config = self.site.config_with("edited", (old, new))

    def file(self, name: str, change: Callable[[bytes], bytes | None]) -> Path:
        """A file below the state directory with other bytes; None: it is gone."""
        path = self.site.state / name
        kept = path.with_name(path.name + ".kept")
        shutil.copy2(path, kept)
        self.undo.append(lambda: shutil.move(kept, path))
        data = change(path.read_bytes())
        path.unlink()
        if data is not None:
            path.write_bytes(data)
        return path

    def replace_leaf(self, old: Envelope, new: Envelope) -> None:
        """An entry of the ledger, its triggers dropped first and put back: whoever can write the file can do that."""
        with closing(sqlite3.connect(self.site.state / "station" / "ledger.db")) as database:
            triggers = list(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            for name, _ in triggers:
                database.execute(f'DROP TRIGGER "{name}"')
            database.execute("UPDATE leaves SET entry = ? WHERE entry = ?", (new.to_json(), old.to_json()))
            for _, text in triggers:
                database.execute(text)
            database.commit()

    def take_back(self) -> None:
        while self.undo:
            self.undo.pop()()
        self.config, self.environment = self.site.config, {}

    # ---- a run, and what came of it

    def run(self, slot: str, order: Path | None = None, *words: object) -> Done:
        """The real command for one device."""
        told = ("run", "--config", self.config, "--order", order or self.order, "--slots", slot, *words)
        return station(*told, environment=self.environment)

    def cloud_key(self, slot: str) -> str | None:
        """Fingerprint of the cloud key in the device's flash, by its own signed report; None: it was not finished."""
        completion = self._registered("completions", slot)
        if completion is None:
            return None
        return ClosingReport.parse(read(completion, Completion).closing.report).cloud_fingerprint

    def receipts(self, slot: str) -> list[str | None]:
        """For each receipt that the station has accepted of this device: what is wrong with it under the true root."""
        found = self._papers(slot)
        return [
            problem(self.root, found[kind], found[f"{kind}-receipt"])
            for kind in ("pin", "completion")
            if f"{kind}-receipt" in found
        ]

    def paper(self, slot: str, kind: str) -> Envelope:
        """What the ledger has of this kind about the device."""
        return self._papers(slot)[kind]

    def _papers(self, slot: str) -> dict[str, Envelope]:
        path = self.site.state / "station" / "ledger.db"
        query = (
            'SELECT records.kind, leaves.entry FROM records JOIN leaves ON leaves."index" = records.leaf_index '
            "JOIN jobs ON jobs.job_id = records.job_id WHERE jobs.device_id = ?"
        )
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            rows = database.execute(query, (self.site.device(slot),))
            return {kind: Envelope.from_json(entry) for kind, entry in rows}

    def _registered(self, table: str, slot: str) -> Envelope | None:
        path = self.site.state / "registry" / "registry.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            row = database.execute(
                f"SELECT statement FROM {table} WHERE device_id = ?",
                (self.site.device(slot),),
            ).fetchone()
        return None if row is None else Envelope.from_json(row[0])


@contextmanager
def rogue_proxy(directory: Path) -> Iterator[tuple[str, Path]]:
    """A proxy that answers every request itself, over TLS with a certificate of its own: its URL, the certificate."""
    certificate, context = _certificate(directory)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_serve, args=(listening, context), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", certificate


def _serve(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65_536)
                    secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            except OSError:
                continue


def _certificate(directory: Path) -> tuple[Path, ssl.SSLContext]:
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = directory / "rogue.crt", directory / "rogue.key"
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, private)
    return certificate, context
