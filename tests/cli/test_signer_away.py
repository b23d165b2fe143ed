"""A signer that goes away while a batch runs: the line waits, visibly, goes on when it is back, and else stops."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from fixtures.families.smp.emulated.verbs import IMAGE
from station.events import AnyEvent, LineStopped, SignerAwaited, SignerBack, Step, StepBegan, Verdict
from station.exits import Exit
from tests.cli.commands import Done
from tests.cli.plant import Site, image
from tests.cli.test_batch import at_work, ended, events, finished, run, until
from tests.hsm.shim.shim import Shim, compiled

pytestmark = pytest.mark.xdist_group("site")
FIRMWARE = image(IMAGE.hex())


def of(kind: type[AnyEvent], done: Done) -> list[AnyEvent]:
    return [each for each in events(done) if isinstance(each, kind)]


@pytest.fixture
def slow_token(site: Site, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shim]:
    """The factory signer's token, behind the shim for one test."""
    if shutil.which("gcc") is None:
        pytest.skip("not installed: gcc")
    shim, made = Shim.over(compiled(short_dir), short_dir / "control"), site.state / "signer-factory" / "signer.toml"
    before = made.read_text()
    for name in ("KS_SHIM_MODULE", "KS_SHIM_CONTROL"):
        monkeypatch.setenv(name, shim.environment[name])
    with site.without("signer-factory"):
        shim.serve_by(made.parent)
    yield shim
    with site.without("signer-factory"):
        made.write_text(before)


def test_a_batch_waits_visibly_for_a_slow_token(site: Site, faulty_slots: Path, slow_token: Shim) -> None:
    words = ["--slots-file", faulty_slots, "--slots", "slow-08"]
    with at_work(site, *words, firmware=FIRMWARE) as process:
        until(process, StepBegan, step=Step.KEYED)  # what is signed at a batch's start is behind it
        slow_token.delay("C_Sign", 5000)
        until(process, StepBegan, step=Step.SIGNED)
        began = time.monotonic()
        until(process, SignerAwaited)
        told_after = time.monotonic() - began
        until(process, SignerBack)
        back_after = time.monotonic() - began
        done = ended(process)
    assert told_after < 2
    assert 4 < back_after < 7
    assert [unit.verdict for unit in finished(done)] == [Verdict.PASS]
    assert done.code == Exit.PASSED


def test_a_batch_goes_on_when_its_signer_is_back(site: Site, faulty_slots: Path) -> None:
    words = ["--slots-file", faulty_slots, "--slots", "slow-06,slow-07"]
    with at_work(site, *words, firmware=FIRMWARE) as process:
        until(process, StepBegan, step=Step.KEYED)
        with site.without("signer-factory"):
            began = time.monotonic()
            told = until(process, SignerAwaited)[-1]
            told_after = time.monotonic() - began
            time.sleep(2)
        done = ended(process)
    assert told_after < 2 + 1, "a second of them the device works on its key"
    assert isinstance(told, SignerAwaited)
    assert "signer-factory" in told.detail, "which signer; why is as the moment of its end has it"
    assert "station-signer status" in told.remedy
    assert (len(of(SignerBack, done)), of(LineStopped, done)) == (1, [])
    assert [unit.verdict for unit in finished(done)] == [Verdict.PASS] * 2
    assert done.code == Exit.PASSED


def test_a_signer_that_stays_away_stops_the_line_and_the_next_batch_finishes_the_units(
    site: Site, faulty_slots: Path
) -> None:
    """And the log's head cannot be signed either: the units' verdicts are told all the same."""
    config = site.config_with("impatient", ("patience_s = 30.0", "patience_s = 2.0"))
    slots = ["--slots-file", faulty_slots, "--slots", "slow-03,slow-04"]
    words = [*slots, "--junit", site.directory / "stopped.xml"]
    with at_work(site, *words, config=config, firmware=FIRMWARE) as process:
        until(process, StepBegan, step=Step.KEYED)
        with site.without("signer-factory"):
            done = ended(process)
    ends = finished(done)
    assert {unit.code for unit in ends} <= {"signer-down", "line-stopped"}
    assert "signer-down" in {unit.code for unit in ends}
    assert done.code == Exit.LINE_STOPPED
    assert (len(of(SignerAwaited, done)), len(of(LineStopped, done)), of(SignerBack, done)) == (1, 1, [])
    assert "The signer does not answer." in done.err
    assert "Traceback" not in done.err
    assert ET.fromstring((site.directory / "stopped.xml").read_bytes()).get("failures") == str(len(ends))
    again = run(site, "slow", *slots, firmware=FIRMWARE)
    assert (again.code, again.out.count(" PASS ")) == (Exit.PASSED, 2), again
