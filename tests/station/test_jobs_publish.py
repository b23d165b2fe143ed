"""Checkpoints of the station's log by the real signer policy, through lost answers and a restored backup."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hsm.signer import SignerError
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.hsm.local_signer import Parties, make_parties
from tests.station import ledgerkit as kit
from trust.codes import Code
from trust.signed_note import Head, NoteKey, verify


@pytest.fixture
def parties(tmp_path: Path) -> Parties:
    for name in ("factory", "cloud"):
        (tmp_path / name).mkdir(exist_ok=True)
    return make_parties(tmp_path, rsa_keys=False)


class Station:
    """A store, its signer and its log key."""

    def __init__(self, path: Path, parties: Parties) -> None:
        if not path.exists():
            path.write_bytes(kit.empty_database())
        root = parties.trusted
        self.key = NoteKey(root.root.log_origin("st-01"), root.root.station("st-01").log)
        self.stamp = Stamp(station="st-01", environment="demo", root_sha256=root.sha256)
        self.store = JobStore(open_database(path), self.stamp)
        self._signer = parties.signer

    async def note(self, kind: str) -> None:
        await self.store.note(self.stamp.event(kind))

    async def sign(self, head: Head) -> str:
        return await self._signer.sign_checkpoint(head)

    async def sign_and_lose(self, head: Head) -> str:
        await self.sign(head)
        raise ConnectionError("the answer is lost")


def test_checkpoints_one_after_the_other(tmp_path: Path, parties: Parties) -> None:
    async def work() -> None:
        station = Station(tmp_path / "station.db", parties)
        for size in range(1, 12):
            await station.note(f"event-{size}")
            checkpoint = await station.store.publish(station.key, station.sign)
            assert checkpoint is not None
            assert (checkpoint.size, checkpoint.root_hash) == (size, (await station.store.tip()).root)
        assert await station.store.publish(station.key, station.sign) is None
        note = await station.store.checkpoint()
        assert note is not None
        assert verify(note, station.key.name, station.key.spki).size == 11
        await station.store.close()

    kit.run(work())


def test_a_lost_answer_does_not_fork_the_log(tmp_path: Path, parties: Parties) -> None:
    async def work() -> None:
        station = Station(tmp_path / "station.db", parties)
        await station.note("first")
        with pytest.raises(ConnectionError):
            await station.store.publish(station.key, station.sign_and_lose)
        assert await station.store.checkpoint() is None
        await station.store.close()
        again = Station(tmp_path / "station.db", parties)
        await again.note("second")
        checkpoint = await again.store.publish(again.key, again.sign)
        assert checkpoint is not None
        assert checkpoint.size == 2
        await again.store.close()

    kit.run(work())


def test_control_a_restored_backup_is_refused_by_the_signer(tmp_path: Path, parties: Parties) -> None:
    """What the signer refuses is really a fork: the same log, set back, with another history."""

    async def work() -> None:
        path, backup = tmp_path / "station.db", tmp_path / "backup.db"
        station = Station(path, parties)
        await station.note("first")
        await station.store.publish(station.key, station.sign)
        await station.store.close()
        shutil.copy(path, backup)
        station = Station(path, parties)
        await station.note("second")
        await station.store.publish(station.key, station.sign)
        await station.store.close()
        restored = Station(backup, parties)
        await restored.note("other")
        with pytest.raises(SignerError) as caught:
            await restored.store.publish(restored.key, restored.sign)
        assert caught.value.code is Code.CHECKPOINT_CONFLICT
        await restored.store.close()

    kit.run(work())
