"""Appending: contiguous, idempotent by bytes, one with the caller's transaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.append import LeafConflictError, append, frontier_at, tip
from ledger.engine import Engine, reading, writing
from ledger.tables import MAX_ENTRY_BYTES
from tests.trust.trees import root_of
from trust.merkle import EMPTY_ROOT, leaf_hash


def test_an_empty_log(engine: Engine) -> None:
    with reading(engine) as connection:
        assert (tip(connection).size, tip(connection).root) == (0, EMPTY_ROOT)


def test_leaves_are_numbered_from_0(engine: Engine) -> None:
    with writing(engine) as connection:
        refs = [append(connection, bytes([each]), subject="s", step=str(each)) for each in range(5)]
    assert [ref.index for ref in refs] == [0, 1, 2, 3, 4]
    assert [ref.leaf_hash for ref in refs] == [leaf_hash(bytes([each])) for each in range(5)]
    with reading(engine) as connection:
        assert tip(connection).root == root_of(ref.leaf_hash for ref in refs)
        for size in range(6):
            assert frontier_at(connection, size).root == root_of(ref.leaf_hash for ref in refs[:size])


def test_the_same_bytes_again_are_the_same_leaf(engine: Engine) -> None:
    with writing(engine) as connection:
        first = append(connection, b"entry", subject="s", step="1")
    with writing(engine) as connection:
        again = append(connection, b"entry", subject="s", step="1")
    assert (first.new, again.new) == (True, False)
    assert (first.index, first.leaf_hash) == (again.index, again.leaf_hash)


def test_other_bytes_under_the_same_step_are_refused(engine: Engine) -> None:
    with writing(engine) as connection:
        append(connection, b"entry", subject="s", step="1")
    with pytest.raises(LeafConflictError, match="leaf 0 already"), writing(engine) as connection:
        append(connection, b"other", subject="s", step="1")
    with reading(engine) as connection:
        assert tip(connection).size == 1


def test_a_rolled_back_transaction_leaves_no_trace(engine: Engine) -> None:
    with writing(engine) as connection:
        append(connection, b"entry", subject="s", step="1")

    def fail() -> None:
        with writing(engine) as connection:
            append(connection, b"lost", subject="s", step="2")
            raise RuntimeError("the caller fails")

    with pytest.raises(RuntimeError, match="the caller fails"):
        fail()
    with writing(engine) as connection:
        assert append(connection, b"next", subject="s", step="3").index == 1
        assert tip(connection).root == root_of([leaf_hash(b"entry"), leaf_hash(b"next")])


@pytest.mark.parametrize("entry", [b"", b"x" * (MAX_ENTRY_BYTES + 1)])
def test_an_entry_that_no_tile_takes(engine: Engine, entry: bytes) -> None:
    with pytest.raises(ValueError, match="65535"), writing(engine) as connection:
        append(connection, entry, subject="s", step="1")


def test_the_largest_entry(engine: Engine) -> None:
    with writing(engine) as connection:
        append(connection, b"x" * MAX_ENTRY_BYTES, subject="s", step="1")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=st.lists(st.binary(min_size=1, max_size=80), max_size=40), cut=st.integers(1, 7))
def test_whatever_the_transactions_the_root_is_that_of_the_leaves(
    migrated: bytes, tmp_path: Path, entries: list[bytes], cut: int
) -> None:
    from ledger.engine import open_engine
    from station.jobs.schema import APPLICATION_ID

    path = tmp_path / "any.db"
    path.write_bytes(migrated)
    engine = open_engine(path, application_id=APPLICATION_ID)
    for start in range(0, len(entries), cut):
        with writing(engine) as connection:
            for step, entry in enumerate(entries[start : start + cut], start):
                append(connection, entry, subject="s", step=str(step))
    with reading(engine) as connection:
        assert tip(connection).root == root_of(map(leaf_hash, entries))
    engine.dispose()


def test_a_gap_is_refused_by_the_database(engine: Engine, path: Path) -> None:
    with writing(engine) as connection:
        append(connection, b"entry", subject="s", step="1")
    with closing(sqlite3.connect(path)) as other:
        for index in (0, 2, -1):
            row = f"INSERT INTO leaves VALUES ({index}, x'01', zeroblob(32), x'00', 's', '2')"
            with pytest.raises(sqlite3.IntegrityError):
                other.execute(row)
