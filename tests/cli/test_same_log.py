"""A ledger that is gone, or an old copy of it, is found before the first unit, by real processes; nothing is made anew."""

import asyncio
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from station.exits import Exit
from station.jobs.schema import open_database
from station.jobs.stamp import Stamp
from station.jobs.store import JobStore
from tests.cli.commands import Done, station, typed
from tests.cli.plant import Site
from tests.cli.test_batch import NO_HANDSHAKE

pytestmark = pytest.mark.xdist_group("site")
SENTENCE = "station: Ledger and signer do not tell of the same log."


def ledger(site: Site) -> Path:
    return site.state / "station" / "ledger.db"


@contextmanager
def replaced(site: Site, by: Path | None) -> Iterator[Path]:
    """The ledger is another file, or none; afterwards the right one is there again."""
    path, kept = ledger(site), site.state / "kept.db"
    path.rename(kept)
    try:
        if by is not None:
            shutil.copy(by, path)
        yield path
    finally:
        kept.replace(path)


def batch(site: Site, *words: object) -> Done:
    """The same unit again: where all is well it is verified and shown as already passed."""
    return station("run", "--config", site.config, "--order", site.order("main"), "--slots", "ec-01", *words)


def finding(site: Site, config: Path | None = None) -> str:
    done = station("check", "--config", config or site.config, "--slots", "ec-01")
    (line,) = [each for each in done.lines if re.match(r"\S+ +ledger ", each)]
    assert done.code == (Exit.USAGE if line.startswith("BAD") else Exit.PASSED), done.out
    return line


def refused(done: Done, told: str) -> None:
    assert (done.code, done.out) == (Exit.LINE_STOPPED, ""), done
    first, *rest = done.err.removeprefix(NO_HANDSHAKE).splitlines()
    assert first == SENTENCE
    assert told in " ".join(rest)
    assert "put the newest ledger back in its place, or call the security officer" in " ".join(rest)


def test_a_ledger_that_is_gone(site: Site, first_batch: Done) -> None:
    told = "there is no ledger here, and the signer has signed a checkpoint over its first "
    before = site.pins(site.device("ec-01"))
    with replaced(site, None) as path:
        assert finding(site).startswith("BAD  ledger    Ledger and signer do not tell of the same log. ")
        assert told in finding(site)
        refused(batch(site), told)
        refused(batch(site, "--dry-run"), told)
        assert not path.exists()
        path.touch()  # an empty file is no ledger either
        refused(batch(site), told)
        assert path.stat().st_size == 0
        path.unlink()
        with site.without("signer-factory"):
            done = station("check", "--config", site.config, "--slots", "ec-01")
        assert "ledger    none here; whether there was one, the signer would know" in done.out
    assert site.pins(site.device("ec-01")) == before
    assert finding(site).startswith("ok   ledger    ")
    assert batch(site).code == Exit.PASSED


def test_a_ledger_restored_from_before_the_last_batch(site: Site, first_batch: Done, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    shutil.copy(ledger(site), old)
    assert batch(site).code == Exit.PASSED
    with replaced(site, old) as path:
        assert "it is an old copy, or it was cut" in finding(site)
        refused(batch(site), "it is an old copy, or it was cut")
        refused(batch(site, "--dry-run"), "it is an old copy, or it was cut")
        assert path.read_bytes() == old.read_bytes()
    assert "the log that the signer knows" in finding(site)
    assert batch(site).code == Exit.PASSED


def test_a_restored_ledger_that_has_grown_since(site: Site, first_batch: Done, tmp_path: Path) -> None:
    """It is longer than what was signed, and another log."""
    old = site.state / "regrown.db"
    shutil.copy(ledger(site), old)
    assert batch(site).code == Exit.PASSED

    async def grow() -> None:
        stamp = Stamp(station="st-01", environment="demo", root_sha256="00" * 32)
        store = JobStore(open_database(old), stamp)
        for _ in range(40):
            await store.note(stamp.event("station-started"))
        await store.close()

    asyncio.run(grow())
    config = site.config_with("regrown", ('"station/ledger.db"', '"regrown.db"'))
    assert "it is another log, or it was rewritten" in finding(site, config)
    done = typed("run", "--config", config, "--order", site.order("main"), "--slots", "ec-01")
    refused(done, "it is another log, or it was rewritten")
