"""A log of bare entries: the ledger knows no devices, so neither do these tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.append import append
from ledger.engine import Engine, open_engine, writing
from station.jobs.schema import APPLICATION_ID, open_database
from trust.signed_note import Head, NoteKey, assemble, checkpoint_text, sign_line

ORIGIN = "demo/station-01/log"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database file: migrated once, copied for each test."""
    path = tmp_path_factory.mktemp("ledger") / "empty.db"
    open_database(path, create=True).dispose()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, migrated: bytes) -> Path:
    path = tmp_path / "ledger.db"
    path.write_bytes(migrated)
    return path


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    opened = open_engine(path, application_id=APPLICATION_ID)
    yield opened
    opened.dispose()


@pytest.fixture
def fill(engine: Engine) -> Callable[[int], None]:
    """Append so many further entries."""

    def more(count: int) -> None:
        with writing(engine) as connection:
            for _ in range(count):
                name = str(connection.exec_driver_sql("SELECT count(*) FROM leaves").scalar_one())
                append(connection, f"entry {name}".encode(), subject="test", step=name)

    return more


class LogSigner:
    """A log key in memory; `asked` is every head it was asked for."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        spki = self._private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.key = NoteKey(ORIGIN, spki)
        self.asked: list[Head] = []

    def sign(self, head: Head) -> str:
        self.asked.append(head)
        text = checkpoint_text(head.origin, head.size, head.root_hash)
        return assemble(text, sign_line(head.origin, self.key.spki, self.raw(text)))

    def raw(self, text: str) -> bytes:
        return self._private.sign(text.encode(), ec.ECDSA(hashes.SHA256()))


@pytest.fixture
def signer() -> LogSigner:
    return LogSigner()
