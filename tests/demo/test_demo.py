"""`station demo`, the real command: provisions, audits, reports; begins anew or goes on; leaves no process behind."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from station.cli.story import typed as typed_lines
from station.demo.plant import MARKER
from station.demo.processes import Process, script
from station.exits import Exit
from tests.cli.commands import STATION, Done, typed
from tests.cli.terminal import OnTerminal
from tests.docs.pages import blocks, page

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(60)]
SIGNER_SERVE = [script("station-signer"), "serve"]
BENCH = [sys.executable, "-m", "fixtures.bench", "--board", "native"]
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
GONE_WITHIN_S = 15.0
PASSED = re.compile(r"(ec|rsa)-\d\d +PASS +[0-9a-f]{24}  (.*)  key [0-9a-f]{16}  [\d.]+ s  emulated")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory with settings, as a user would have it."""

    directory: Path

    def command(self, *words: str) -> list[str]:
        return [STATION, "demo", "--config", "config.toml", *words]

    def types(self, line: str) -> subprocess.CompletedProcess:
        """What a user gets who types this line here."""
        return subprocess.run(line, shell=True, cwd=self.directory, capture_output=True, text=True, check=True)

    def demo(self, *words: str, timeout: float = 55) -> Done:
        done = subprocess.run(
            self.command(*words), cwd=self.directory, capture_output=True, text=True, timeout=timeout, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def processes(self) -> list[str]:
        """Command lines of all processes that name this directory."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:  # it has just ended
                continue
            if os.fsencode(self.directory) in words:
                found.append(words.replace(b"\0", b" ").decode(errors="replace"))
        return found

    def wait_until_gone(self) -> list[str]:
        """What still runs when nothing should any more."""
        deadline = time.monotonic() + GONE_WITHIN_S
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


def make_place(directory: Path) -> Place:
    (directory / "config.toml").write_text(EXAMPLE.read_text().replace("run/demo", "plant"))
    return Place(directory)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        yield make_place(Path(name).resolve())


@pytest.fixture(scope="module")
def first(place: Place) -> Done:
    """The first demo in this place: four devices, one of them RSA."""
    return place.demo("--bench", "native", "--devices", "4")


def passes(done: Done) -> list[str]:
    """How far each PASS had come."""
    return [match[2] for line in done.lines if (match := PASSED.fullmatch(line))]


def audited(done: Done) -> None:
    assert sum(line.startswith("ledger verifies: ") for line in done.lines) == 1, done
    report = [line.split() for line in done.lines if re.match(r"demo-(ec|rsa)-\w+ +\d", line)]
    ec, rsa = (row[1:] for row in report)
    assert ec == ["4", "3", "3", "0", "0", "0", "0", "1"], "the allowance is one"
    assert rsa == ["2", "1", "1", "0", "0", "0", "0", "1"]
    assert all(len(line) <= 80 for line in done.lines if line.startswith("demo-"))
    assert "handshakes: 4 proved" in done.lines, "all of them, by their completions"
    assert [line.rpartition(": ")[2] for line in done.lines if ": handshakes: " in line] == ["3 proved", "1 proved"]


def test_it_provisions_audits_and_reports(place: Place, first: Done) -> None:
    assert first.code == 0, first
    assert passes(first) == ["safe at the station"] * 4
    audited(first)
    assert re.fullmatch(r"demo       \d+\.\d s from start to end", first.lines[-1])


def test_it_leaves_no_process_behind(place: Place, first: Done) -> None:
    assert place.processes() == []


def test_what_it_types_can_be_typed(place: Place, first: Done) -> None:
    """Relative paths, as one would type them; and the commands it ends with work."""
    typed_by_it = re.findall(r"^\$ ((?:.*\\\n)*.*)$", first.err, re.MULTILINE)
    words = [shlex.split(line) for line in typed_by_it]
    assert [each[:2] for each in words] == [[STATION, name] for name in ("run", "run", "ledger", "ledger")]
    assert [each[each.index("--slots") + 1] for each in words[:2]] == ["ec-01,ec-02,ec-03", "rsa-01"]
    assert str(place.directory) not in first.err
    assert "…" not in first.err
    assert all(len(line) <= 80 for line in first.err.replace(STATION, "station").splitlines()), first.err
    assert place.types(typed_by_it[-1]).stdout in first.out
    (device,) = re.findall(r"rsa-01 +PASS +(\S+)", first.out)
    (hint,) = re.findall(r"^  (\S+ device show DEVICE-ID .*)$", first.err, re.MULTILINE)
    assert "completion-receipt  " in place.types(hint.replace("DEVICE-ID", device)).stdout
    (again,) = re.findall(r"^  (\S+ demo --keep .*)$", first.err, re.MULTILINE)
    assert again == f"{STATION} demo --keep --config config.toml"


def test_many_slots_are_all_typed() -> None:
    slots = ",".join(f"ec-{number:02}" for number in range(1, 49))
    lines = typed_lines(
        (".venv/bin/station", "run", "--order", "an order.toml", "--slots", slots, "--config", "c.toml")
    )
    assert lines == [
        "$ .venv/bin/station run \\",
        "      --order 'an order.toml' \\",
        f"      --slots {slots} \\",
        "      --config c.toml",
    ]
    assert typed_lines(("station", "ledger", "verify", "--config", "c.toml")) == [
        "$ station ledger verify --config c.toml"
    ]


def test_the_plant_by_hand_of_the_documents(place: Place, first: Done) -> None:
    """Typed from top to bottom, in this demo's directory and for its fewer devices."""
    script = "".join(blocks(page("docs/deployment.md"))[name] for name in ("plant", "plant_down"))
    swaps = {
        "run/demo": "plant",
        "config.example": "config",
        "--devices 6": "--devices 3",
        "--devices 2": "--devices 1",
    }
    for old, new in swaps.items():
        assert old in script
        script = script.replace(old, new)
    here = {**os.environ, "PATH": f"{Path(STATION).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-eu", "-c", script], cwd=place.directory, env=here, capture_output=True, text=True, timeout=50, check=False
    )  # fmt: skip
    assert "2 passed (2 already), 0 failed, 0 held" in done.stdout, done
    assert re.search(r"^ok   registry", done.stdout, re.MULTILINE)
    assert place.wait_until_gone() == []


def test_again_with_keep_all_have_already_passed(place: Place, first: Done) -> None:
    again = place.demo("--keep")  # the same devices, without naming them
    assert again.code == 0, again
    assert passes(again) == ["already passed, active in the cloud"] * 4
    audited(again)
    ids = [sorted(re.findall(r"PASS +([0-9a-f]{24})", each.out)) for each in (first, again)]
    assert ids[0] == ids[1]
    assert "kept" in again.err
    assert place.processes() == []


def test_a_kept_plant_has_the_devices_that_it_has(place: Place, first: Done) -> None:
    for words in (["--devices", "5"], ["--bench", "emulated"]):
        done = typed("demo", "--config", place.directory / "config.toml", "--keep", *words)
        assert (done.code, done.out) == (Exit.USAGE, "")
        assert "the kept plant has 4 native devices: ask for these, or leave out --keep" in done.err


@pytest.mark.parametrize("words", [[], ["--keep"], ["--discard"]])
def test_a_plant_at_work_is_left_alone(place: Place, first: Done, words: list[str]) -> None:
    """Whichever of its programs runs, and whatever was asked for."""
    state = place.directory / "plant"
    signer = [*SIGNER_SERVE, "--dir", str(state / "signer-cloud"), "--root", str(state / "root.json")]
    bench = [*BENCH, "--devices", "1", "--dir", str(state / "bench-rsa"), "--product", "1002", "--prefix", "rsa"]
    for argv, ready, who in ((signer, "ready", "signer-cloud"), (bench, "bench: ready", "bench-rsa")):
        log = place.directory / f"{who}{len(words)}.log"
        with Process(argv, log) as process:
            process.wait_until(lambda process=process, ready=ready: process.says(ready), 20)
            before = (state / "root.json").read_bytes()
            done = typed("demo", "--config", place.directory / "config.toml", *words)
            assert (done.code, done.out) == (Exit.USAGE, ""), done
            assert f"plant in {state} is at work, a program uses {who}" in done.err
            assert "stop its programs first" in done.err
            assert (state / "root.json").read_bytes() == before
        log.unlink()


def test_keep_and_discard_are_one_or_the_other(place: Place) -> None:
    done = typed("demo", "--keep", "--discard", "--config", place.directory / "config.toml")
    assert (done.code, done.err) == (Exit.USAGE, "station: --keep and --discard: one or the other\n")


def test_discarded_it_begins_anew(tmp_path: Path) -> None:
    """A plant whose ledger cannot be read is kept until somebody says that it may go."""
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        place = make_place(Path(name).resolve())
        state = place.directory / "plant"
        (state / "station").mkdir(parents=True)
        (state / MARKER).touch()
        (state / "station" / "ledger.db").write_text("torn")
        assert place.demo("--devices", "1").code == Exit.USAGE
        assert (state / "station" / "ledger.db").read_text() == "torn"
        done = place.demo("--devices", "1", "--discard")
        assert (done.code, len(passes(done))) == (Exit.PASSED, 1), done
        assert place.demo("--devices", "1").code == Exit.PASSED, "a settled plant needs no flag"


def test_ctrl_c_lets_units_end_and_stops_everything(place: Place, first: Done) -> None:
    with OnTerminal(place.command("--keep"), columns=100, cwd=place.directory) as demo:
        demo.wait_until(lambda shown: "station run \\" in shown and "verdict" in shown, timeout_s=40)
        demo.press("\x03")
        assert demo.end() == Exit.INTERRUPTED
    assert "interrupted: units in work come to their end" in demo.screen.text
    assert "Traceback" not in demo.screen.text
    assert "station ledger" not in demo.screen.text, "nothing more is typed"
    assert demo.screen.text.count("✔ PASS") == 3, demo.screen.text
    assert place.wait_until_gone() == []


def test_killed_it_takes_everything_with_it(place: Place, first: Done) -> None:
    with subprocess.Popen(place.command("--keep"), cwd=place.directory, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if line.startswith("registry"):
                break
        assert len(place.processes()) >= 3
        demo.send_signal(signal.SIGKILL)
    assert place.wait_until_gone() == []


def test_a_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "thesis.tex").write_text("years of work")
    for words in ([], ["--keep"]):
        done = typed("demo", "--config", tmp_path / "config.toml", *words)
        assert (done.code, done.out) == (Exit.USAGE, ""), done
        assert f"{tmp_path / 'plant'} is not empty and not a demo's: name another state directory" in done.err
    assert [path.name for path in (tmp_path / "plant").iterdir()] == ["thesis.tex"]
    assert place.processes() == []


def test_a_program_that_cannot_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("run/demo", "plant").replace('name = "st-01"', f'name = "{"x" * 64}"')
    (tmp_path / "config.toml").write_text(text)
    done = typed("demo", "--config", tmp_path / "config.toml")
    assert done.code == Exit.USAGE
    assert "station-signer init ended with 2" in done.err


@pytest.mark.qemu
@pytest.mark.timeout(300)
def test_on_the_emulated_board() -> None:
    with tempfile.TemporaryDirectory(prefix="ks-") as name:
        place = make_place(Path(name).resolve())
        done = place.demo("--bench", "emulated", "--devices", "4", timeout=280)
        assert done.code == 0, done
        assert len(passes(done)) == 4
        audited(done)
        assert place.processes() == []
