"""`station run` as scripts use it: stdout is data, stderr is everything else, the exit code is the worst result."""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from fixtures.families.smp.emulated.verbs import IMAGE
from station.cli import views
from station.events import (
    AnyEvent,
    AttemptBegan,
    BatchFinished,
    LineStopped,
    Rehearsed,
    Step,
    StepBegan,
    UnitFinished,
    Verdict,
)
from station.exits import Exit
from tests.cli.commands import STATION, Done, station, typed
from tests.cli.plant import Site, image

pytestmark = pytest.mark.xdist_group("site")

# what a device goes through that has passed before: its pin is taken over, not made again
AGAIN = [step for step in Step if step not in {Step.VETTED, Step.INTENDED, Step.SIGNED}]

NO_HANDSHAKE = "proof: no handshake: the order asks for none\n"


def run(site: Site, order: str, *words: object, type_it: Callable[..., Done] = station, **changes: object) -> Done:
    """A batch under this order: by the real command, or with `typed` in this process, where that proves as much."""
    return type_it("run", "--config", site.config, "--order", site.order(order, **changes), *words)


def events(done: Done) -> list[AnyEvent]:
    return [msgspec.json.decode(line, type=AnyEvent) for line in done.lines]


def finished(done: Done) -> list[UnitFinished]:
    return [event for event in events(done) if isinstance(event, UnitFinished)]


def passed(slot: str, device: str, words: str) -> str:
    return rf"{slot}      PASS       {device}  {words}  key [0-9a-f]{{16}}  \d+\.\d\d s  emulated"


def test_a_batch_in_a_pipe_is_a_line_a_unit_and_the_tally(site: Site, first_batch: Done) -> None:
    assert (first_batch.code, first_batch.err) == (Exit.PASSED, NO_HANDSHAKE), first_batch
    *units, tally = sorted(first_batch.lines[:-1]) + first_batch.lines[-1:]
    for slot, line in zip(("ec-01", "ec-02"), units, strict=True):
        assert re.fullmatch(passed(slot, site.device(slot), "safe at the station"), line), line
    assert re.fullmatch(r"order main: 2 passed, 0 failed, 0 held, 0 quarantined in \d+\.\d s", tally)


def test_junit(site: Site, first_batch: Done) -> None:
    suite = ET.fromstring((site.directory / "first.xml").read_bytes())
    assert [each.get("value") for each in suite.findall("properties/property")] == ["2", "0", "0", "0"], (
        "all are emulated"
    )
    assert {name: suite.get(name) for name in ("name", "tests", "failures")} == {
        "name": "order main", "tests": "2", "failures": "0",
    }  # fmt: skip
    cases = {case.get("classname"): case.get("name") for case in suite.findall("testcase")}
    assert cases == {slot: site.device(slot) for slot in ("ec-01", "ec-02")}


def test_jsonl_is_every_event_and_nothing_else(site: Site, first_batch: Done) -> None:
    done = run(site, "main", "--slots", "ec-01,ec-02", "--jsonl")
    assert (done.code, done.err) == (Exit.PASSED, "")
    assert all({"event", "at", "slot"} <= each.keys() for each in done.objects)
    told = events(done)
    for slot in ("ec-01", "ec-02"):
        steps = [event.step for event in told if isinstance(event, StepBegan) and event.slot == slot]
        assert steps == AGAIN
    assert [(unit.verdict, unit.already, unit.cloud, unit.emulated) for unit in finished(done)] == [
        (Verdict.PASS, True, "active", True)
    ] * 2
    last = told[-1]
    assert isinstance(last, BatchFinished)
    assert (last.passed, last.already, last.outbox, last.finish_me, last.exit_code) == (2, 2, 0, (), 0)
    assert (last.interrupted, last.under_way) == (False, 0)


def test_count_is_an_upper_limit_over_all_slots(site: Site, first_batch: Done) -> None:
    done = run(site, "main", "--slots", "ec-01,ec-02", "--count", "1", "--jsonl", type_it=typed)
    assert done.code == Exit.PASSED
    assert [unit.slot for unit in finished(done)] == ["ec-01"]


def test_a_slot_named_twice_is_served_once(site: Site, first_batch: Done) -> None:
    done = run(site, "main", "--slots", " ec-02,ec-02 ,", "--jsonl", type_it=typed)
    assert [unit.slot for unit in finished(done)] == ["ec-02"], done.out


def test_verbose_puts_steps_on_stderr(site: Site, first_batch: Done) -> None:
    done = run(site, "main", "--slots", "ec-01", "--verbose", type_it=typed)
    assert len(done.lines) == 2
    assert [line.split()[1] for line in done.err.splitlines() if line.endswith("ms")] == AGAIN
    assert f"unit {site.device('ec-01')}, product 1001" in done.err


def test_a_dry_run_touches_nothing(site: Site, first_batch: Done) -> None:
    ledger = (site.state / "station" / "ledger.db").read_bytes()
    flash = (site.state / "bench-ec" / "slots" / "ec-06" / "flash.bin").read_bytes()
    done = run(site, "dry", "--dry-run", "--slots", "ec-06")
    assert (done.code, done.out) == (0, "")
    assert done.err == (f"dry run: order dry could start on 1 slot; no device was touched\n{NO_HANDSHAKE}")
    assert (site.state / "station" / "ledger.db").read_bytes() == ledger
    assert (site.state / "bench-ec" / "slots" / "ec-06" / "flash.bin").read_bytes() == flash


def test_a_dry_run_for_scripts_is_one_event(site: Site, first_batch: Done) -> None:
    done = run(site, "dry", "--dry-run", "--jsonl", "--slots", "ec-06,ec-01", type_it=typed)
    (told,) = events(done)
    assert (done.code, done.err) == (0, "")
    assert isinstance(told, Rehearsed)
    assert (told.order, told.slots, told.proofs) == ("dry", ("ec-06", "ec-01"), ("not-asked", "not-asked"))


@pytest.mark.parametrize("names", ["", ",", " , "])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_list_of_no_slots_is_not_all_slots(site: Site, first_batch: Done, command: str, names: str) -> None:
    done = typed(command, "--config", site.config, "--order", site.order("main"), "--slots", names)
    assert (done.code, done.out) == (Exit.USAGE, "")
    assert f"{names!r} names no slot; without --slots all are served. Try: " in done.err
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_goes_away_stops_nothing(site: Site, first_batch: Done) -> None:
    words = shlex.join([STATION, "run", "--config", str(site.config), "--order", str(site.order("main")), "--jsonl"])
    script = f"{words} --slots ec-01,ec-02 | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    first, code = done.stdout.splitlines()
    assert msgspec.json.decode(first)["event"] == "attempt-began"
    assert (code, done.stderr) == ("0", "")


def test_stdout_that_takes_nothing_more_stops_nothing_and_is_said(site: Site, first_batch: Done) -> None:
    words = ["run", "--config", str(site.config), "--order", str(site.order("main")), "--slots", "ec-01,ec-02"]
    with Path("/dev/full").open("w") as full:
        for more in ([], ["--jsonl"]):
            done = subprocess.run(
                [STATION, *words, *more], stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=30
            )
            assert done.returncode == Exit.USAGE, done
            told = "station: stdout takes nothing more: No space left on device. The batch itself is on record: "
            said = done.stderr.removeprefix(NO_HANDSHAKE)
            assert said.startswith(told), done.stderr
            assert len(said.splitlines()) == 1
    assert station("ledger", "verify", "--config", site.config).code == Exit.PASSED, "the log was published"


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), (">&- 2>&-", 0)])
def test_streams_that_were_closed_before_change_nothing(site: Site, first_batch: Done, closed: str, code: int) -> None:
    words = shlex.join([STATION, "run", "--config", str(site.config), "--order", str(site.order("main")), "--jsonl"])
    script = f"{words} --slots ec-01,ec-02 {closed}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (code, ""), done
    assert all(line.startswith("{") for line in done.stdout.splitlines()), "nothing but events"
    missing = subprocess.run(["bash", "-c", f"{STATION} check --config nosuch.toml {closed}"], check=False, timeout=30)
    assert missing.returncode == Exit.USAGE


@pytest.mark.parametrize("where", ["2>&1", "2>&1 >/dev/null"])
def test_nobody_reading_what_is_said_stops_nothing(site: Site, first_batch: Done, where: str) -> None:
    words = shlex.join([STATION, "run", "--config", str(site.config), "--order", str(site.order("main")), "--verbose"])
    script = f"{words} --slots ec-01,ec-02 {where} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_another_products_order_fails_the_unit(site: Site, first_batch: Done) -> None:
    done = run(site, "other", "--slots", "ec-01", "--retries", "1", product='"lamp"', product_id="7")
    assert done.code == Exit.UNIT_FAILED, done
    assert len(done.lines) == 2, "trying again at once would change nothing"
    assert f"FAIL       {site.device('ec-01')}  wrong-product at identified: " in done.lines[0]
    assert done.lines[-1].startswith("order other: 0 passed, 1 failed, 0 held, 0 quarantined")


def test_a_unit_that_passed_under_another_order_fails_here_and_stays_good(site: Site, first_batch: Done) -> None:
    done = run(site, "second", "--slots", "ec-01", "--jsonl", type_it=typed)
    (unit,) = finished(done)
    assert (done.code, unit.verdict, unit.code) == (Exit.UNIT_FAILED, Verdict.FAIL, "passed-other-order")


def test_an_empty_port_fails_and_the_other_slot_passes(site: Site, first_batch: Done, tmp_path: Path) -> None:
    slots = (site.state / "slots.toml").read_text()
    missing = re.sub(r'(name = "ec-02"\n(?:.*\n)*?port = ")[^"]+', r"\1/dev/ttyNONE", slots)
    (tmp_path / "slots.toml").write_text(missing)
    words = ["--slots-file", tmp_path / "slots.toml", "--slots", "ec-01,ec-02", "--retries", "0", "--jsonl"]
    done = run(site, "main", *words, type_it=typed)
    assert {(unit.slot, unit.verdict, unit.code) for unit in finished(done)} == {
        ("ec-01", Verdict.PASS, ""), ("ec-02", Verdict.FAIL, "port-missing"),
    }  # fmt: skip
    assert done.code == Exit.UNIT_FAILED


def test_a_unit_that_is_tried_again_has_one_verdict(site: Site, tmp_path: Path) -> None:
    (tmp_path / "slots.toml").write_text('[[slot]]\nname = "gone"\nfamily = "smp"\nport = "/dev/ttyNONE"\n')
    words = ["--slots-file", tmp_path / "slots.toml", "--retries", "2", "--junit", tmp_path / "junit.xml"]
    done = run(site, "main", *words, type_it=typed)
    assert done.code == Exit.UNIT_FAILED
    assert [line.split()[1] for line in done.lines[:-1]] == ["again", "again", "FAIL"]
    assert "It is tried again." in done.lines[0]
    assert ": 0 passed, 1 failed, 0 held" in done.lines[-1]
    assert ET.fromstring((tmp_path / "junit.xml").read_bytes()).get("tests") == "1"


def test_an_order_that_is_used_up_turns_the_next_unit_away_and_nobody_else(site: Site) -> None:
    limits = {"quantity": "1", "allowance": "0"}
    assert run(site, "small", "--slots", "ec-04", type_it=typed, **limits).code == Exit.PASSED
    done = run(site, "small", "--slots", "ec-04,ec-05", "--jsonl", **limits)
    assert [event for event in events(done) if isinstance(event, LineStopped)] == []
    passed, other = sorted(finished(done), key=lambda each: each.slot)
    assert (passed.verdict, passed.already) == (Verdict.PASS, True)
    assert (done.code, other.code, other.step) == (Exit.ORDER_EXHAUSTED, "order-full", Step.ASSIGNED)
    assert site.pins(site.device("ec-05")) == 0
    following = run(site, "next", "--slots", "ec-05", type_it=typed)
    assert following.code == Exit.PASSED, "the unit after the last is a good one for the next order"
    again = run(
        site, "small", "--slots", "ec-04", type_it=typed, **limits
    )  # used up is not closed: what has passed may come again
    assert again.code == Exit.PASSED


def test_an_order_for_a_station_that_the_root_does_not_name_does_not_begin(site: Site) -> None:
    chip = site.state / "bench-ec" / "slots" / "ec-06" / "flash.bin"
    before = chip.read_bytes()
    done = run(site, "theirs", "--slots", "ec-06", type_it=typed, stations="{ st-09 = { quantity = 1 } }")
    assert done.code == Exit.USAGE
    assert "station 'st-09' is none that its trust root names" in done.out + done.err
    assert chip.read_bytes() == before, "the unit is as it was"
    assert run(site, "theirs", "--dry-run", type_it=typed, stations="{ st-09 = { quantity = 1 } }").code == Exit.USAGE
    assert typed("check", "--config", site.config, "--order", site.directory / "theirs.toml").code == Exit.USAGE


def test_two_devices_with_one_key_stop_the_line(site: Site, faulty_slots: Path) -> None:
    words = ["--slots-file", faulty_slots, "--slots", "twin-01,twin-02", "--retries", "0"]
    done = run(site, "twins", *words, firmware=image(IMAGE.hex()))
    assert done.code == Exit.WEAK_KEY, done
    assert sum("key-duplicate at intended" in line for line in done.lines if "FAIL" in line) == 1
    assert sum(line.startswith("LINE STOP  Two units have the same key.") for line in done.lines) == 1


def test_without_its_signer_nothing_starts(site: Site) -> None:
    with site.without("signer-factory"):
        done = run(site, "main", "--slots", "ec-06")
        dry = run(site, "main", "--dry-run")
    for each in (done, dry):
        assert (each.code, each.out) == (Exit.LINE_STOPPED, ""), each
        assert "The signer does not answer." in each.err
        assert re.search(
            rf"station-signer serve --dir {site.state}/signer-factory --root {site.state}/root.json; ", each.err
        )


@contextmanager
def at_work(
    site: Site, *words: object, config: Path | None = None, **changes: object
) -> Iterator[subprocess.Popen[str]]:
    """A batch under way, its events on stdout."""
    argv = ["run", "--config", config or site.config, "--order", site.order("slow", **changes), "--jsonl", *words]
    command = [STATION, *map(str, argv)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(process: subprocess.Popen[str], wanted: type[AnyEvent], **fields: object) -> list[AnyEvent]:
    """Read events to the first of this kind."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(msgspec.json.decode(line, type=AnyEvent))
        if isinstance(told[-1], wanted) and all(getattr(told[-1], name) == value for name, value in fields.items()):
            return told
    raise AssertionError(told)


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=20)
    return Done(process.returncode, out, err)


def test_sigint_lets_units_in_work_end_and_begins_no_other(site: Site, faulty_slots: Path) -> None:
    words = ["--slots-file", faulty_slots, "--slots", "slow-01,slow-02", "--count", "5"]
    with at_work(site, *words, firmware=image(IMAGE.hex())) as process:
        before = until(process, StepBegan, step=Step.KEYED)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        done = ended(process)
    told = [*before, *events(done)]
    began = [event.slot for event in told if isinstance(event, AttemptBegan)]
    ends = {event.slot: event.verdict for event in told if isinstance(event, UnitFinished)}
    assert sorted(began) == ["slow-01", "slow-02"]
    assert ends == {"slow-01": Verdict.PASS, "slow-02": Verdict.PASS}
    assert done.code == Exit.INTERRUPTED
    assert done.err.splitlines() == [
        "interrupted: units in work come to their end, no further unit is begun",
        "interrupted: 2 units were under way and have their verdicts; nothing is lost, insert again what did not pass",
        f"outbox: {views.in_outbox(told[-1].outbox)}",
    ]
    assert (told[-1].interrupted, told[-1].under_way, told[-1].exit_code) == (True, 2, Exit.INTERRUPTED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_another_unit(site: Site, number: signal.Signals, first_batch: Done) -> None:
    argv = [
        "run",
        "--config",
        site.config,
        "--order",
        site.order("main"),
        "--jsonl",
        "--slots",
        "ec-01",
        "--count",
        "9",
    ]
    # Whoever runs the tests may ignore it (nohup), and that is inherited.
    listen = f"import os, signal, sys; signal.signal({number:d}, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    words = [sys.executable, "-c", listen, STATION, *map(str, argv)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(process, UnitFinished)
    time.sleep(0.3)
    assert process.poll() is None, "it waits for the unit to be taken out and another one to be put in"
    process.send_signal(number)
    done = ended(process)
    assert done.code == Exit.INTERRUPTED
    (last,) = events(done)
    assert isinstance(last, BatchFinished)
    assert (last.passed, last.interrupted, last.under_way, last.exit_code) == (1, True, 0, Exit.INTERRUPTED)
    assert "interrupted: no unit was under way; nothing is lost" in done.err
