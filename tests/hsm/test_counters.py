"""What the counters promise is asked of the database itself, and of damaged, missing and foreign files."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from hsm.counters import Counters
from hsm.counters.file import StoreError, create
from hsm.records import Owner
from hsm.signer import SignerError
from tests.hsm.floor import Device, Floor
from tests.hsm.local_signer import Parties
from trust.codes import Code
from trust.root import Seen

OWNER = Owner(role="factory", name="st-01", environment="demo", keys_sha256="ab" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create(tmp_path / "counters.db", OWNER)
    return tmp_path / "counters.db"


def test_a_missing_file_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="never made anew"):
        Counters.open(tmp_path / "counters.db", OWNER)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError, match="never overwritten"):
        create(path, OWNER)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("field", ["role", "name", "environment", "keys_sha256"])
def test_another_signers_file_is_refused(path: Path, field: str) -> None:
    values = {name: getattr(OWNER, name) for name in ("role", "name", "environment", "keys_sha256")}
    with pytest.raises(StoreError, match="use its own"):
        Counters.open(path, Owner(**(values | {field: "other"})))


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 500])
def test_a_file_that_is_no_counters_file_is_refused(path: Path, damage: bytes) -> None:
    path.write_bytes(damage)
    with pytest.raises(StoreError):
        Counters.open(path, OWNER)


def test_a_damaged_page_is_found_at_start(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 3 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError):
        Counters.open(path, OWNER)


def test_the_connection_is_durable(path: Path) -> None:
    counters = Counters.open(path, OWNER)
    asked = [counters.run(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert asked == ["truncate", 3, 1]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE statements SET payload = x'00'",
        "UPDATE statements SET job = 'other'",
        "UPDATE statements SET envelope = x'00'",
        "DELETE FROM statements",
        "DELETE FROM checkpoints",
        "UPDATE orders SET pins = 0",
        "UPDATE orders SET pins = 5",
        "UPDATE orders SET completions = 99",
        "UPDATE orders SET scrapped = 1",
        "DELETE FROM orders",
        "UPDATE statements SET number = 2",
        "INSERT INTO statements SELECT 'x', 'receipt', 2, order_id, job, device_id, fingerprint, x'00', NULL, 0 FROM statements",
        "INSERT INTO statements SELECT 'x', kind, NULL, order_id, 'j', device_id, fingerprint, x'00', NULL, 0 FROM statements",
        "DELETE FROM roots",
        "INSERT INTO roots VALUES (1, 'cd', 2)",
        "INSERT INTO roots VALUES (2, 'cd', 2)",
        "INSERT INTO roots VALUES (3, 'ab', 2)",
        "UPDATE times SET newest = 6",
        "INSERT INTO times VALUES (2, 8)",
        "INSERT INTO statements SELECT 'x', kind, 2, order_id, 'new job', device_id, fingerprint, payload, NULL, 0 FROM statements",
        "INSERT INTO statements SELECT 'x', kind, 2, order_id, job, 'new device', fingerprint, payload, NULL, 0 FROM statements",
        "INSERT INTO checkpoints VALUES ('log', 4, zeroblob(32), NULL)",
        "INSERT INTO checkpoints VALUES ('log', 5, zeroblob(32), NULL)",
        "INSERT INTO challenges VALUES (x'00', 'pin', 'order-1', 'j', 'd', 1, NULL)",
    ],
)
def test_the_database_itself_refuses_what_must_not_happen(floor: Floor, tmp_path: Path, sql: str) -> None:
    floor.factory.sign_pin(floor.pin(Device()))
    counters = floor.factory.signatory.counters
    counters.add_head("log", 5, bytes(32))
    counters.take_up_root(Seen(2, "ab"), 1)
    counters.see_time(7)
    database = sqlite3.connect(tmp_path / "factory" / "counters.db")
    database.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        database.execute(sql)


COLUMNS = "payload_sha256, kind, number, order_id, job, device_id, fingerprint"
REPLACE = f"INSERT OR REPLACE INTO statements SELECT {COLUMNS}, x'00', NULL, 0 FROM statements"


def test_no_statement_is_replaced_behind_the_trigger_that_refuses_to_delete(floor: Floor) -> None:
    counters = floor.factory.signatory.counters
    floor.factory.sign_pin(floor.pin(Device()))
    with pytest.raises(StoreError, match="statements stay"):
        counters.run(REPLACE)


def test_without_the_pragma_it_would_be(floor: Floor) -> None:
    """Negative control."""
    counters = floor.factory.signatory.counters
    floor.factory.sign_pin(floor.pin(Device()))
    counters.run("PRAGMA recursive_triggers = OFF")
    counters.run(REPLACE)
    assert counters.run("SELECT payload, envelope FROM statements").fetchall() == [(b"\0", None)]


def test_a_refusal_inside_the_transaction_leaves_nothing(path: Path) -> None:
    counters = Counters.open(path, OWNER)

    def refuse() -> None:
        with counters.transaction():
            counters.count_signature("pin")
            raise KeyError

    with pytest.raises(KeyError):
        refuse()
    assert counters.signatures() == {}


def test_a_full_disk_is_a_clean_refusal(floor: Floor, parties: Parties) -> None:
    counters = floor.factory.signatory.counters
    pin = floor.pin(Device())
    (pages,) = counters.run("PRAGMA page_count").fetchone()
    counters.run(f"PRAGMA max_page_count = {pages}")
    pins = [pin] + [floor.pin(Device()) for _ in range(3)]
    codes = set()
    for each in pins:
        try:
            floor.factory.sign_pin(each)
        except SignerError as error:
            codes.add(error.code)
    assert codes == {Code.STORE_FAILED}
    assert parties.factory_token.signed["pin"] < 4
    counters.run("PRAGMA max_page_count = 1000000")
    for each in pins:
        floor.factory.sign_pin(each)  # room again: everything goes on, each unit counted once
    (used,) = counters.run("SELECT pins FROM orders").fetchone()
    assert used == 4


def test_a_file_that_goes_bad_under_the_signer_stops_it_for_good(floor: Floor, tmp_path: Path) -> None:
    path = tmp_path / "factory" / "counters.db"
    pin = floor.pin(Device())
    sound = path.read_bytes()
    path.write_bytes(b"\x00" * len(sound))
    for _ in range(2):
        with pytest.raises(SignerError) as caught:
            floor.factory.sign_pin(pin)
        assert caught.value.code is Code.STORE_FAILED
    path.write_bytes(sound)
    with pytest.raises(SignerError, match="signs nothing more") as caught:
        floor.factory.sign_pin(pin)
    assert caught.value.code is Code.STORE_FAILED
