"""Papers that a crash left unsigned, or that were lost, and that another key has signed since: kept once, and no finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from station.jobs import RecordConflictError
from station.jobs.store import JobStore
from tests.registry.make import ec_key
from tests.station import ledgerkit as kit
from tests.station.paperkit import STATION, Papered, balance, returned
from tests.station.test_audit_papers import audited
from tests.trust.documents import spki
from trust.root import TrustedRoot


@pytest.fixture
def papered() -> Papered:
    return Papered.make()


def test_a_paper_that_was_signed_anew_by_a_key_that_followed(tmp_path: Path, papered: Papered) -> None:
    """It names the version that it was made under; a key that came later made its signature. One before never."""
    old, made = papered.made.trusted, papered.made
    new_lease, new_account = ec_key(), ec_key()
    keys = msgspec.structs.replace(old.root.registry_keys, lease=spki(new_lease))
    stations = {STATION: msgspec.structs.replace(old.root.stations[STATION], account=spki(new_account))}
    root = msgspec.structs.replace(
        old.root, version=2, previous_sha256=old.sha256, registry_keys=keys, stations={**old.root.stations, **stations}
    )
    newer = TrustedRoot(root, "ef" * 32, ((old.sha256, old.root),))
    path = tmp_path / "station.db"

    async def write() -> None:
        store = kit.store_at(path, made)
        await store.keep_paper(papered.lease(new_lease))
        await store.keep_paper(returned(made, key=new_account))
        await store.keep_paper(balance(made, root_sha256="ef" * 32))
        await kit.publish(store, made)
        await store.close()

    kit.run(write())
    found = audited(path, replace(made, trusted=newer)).findings
    assert [(each.row, each.check) for each in found] == [("2", 9)], "the old key under the new version is nobody's"


def test_a_paper_that_was_signed_anew_is_kept_once(tmp_path: Path, papered: Papered) -> None:
    async def story(store: JobStore) -> None:
        await store.keep_paper(papered.lease())
        await store.keep_paper(papered.lease(ec_key()))
        with pytest.raises(RecordConflictError, match="other bytes"):
            await store.keep_paper(papered.lease(signed=1, up_to=2))

    async def write() -> None:
        store = kit.store_at(tmp_path / "station.db", papered.made)
        await story(store)
        await store.close()

    kit.run(write())
