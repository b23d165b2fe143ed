"""`station run` before a person: a row a slot, word and shape for each verdict, seconds that run; data stays on stdout."""

import io
import re
import socket
from pathlib import Path

import pytest

from fixtures.families.smp.emulated.verbs import IMAGE
from station.cli.live import Progress
from station.cli.rows import MARKS, Row
from station.events import (
    AttemptBegan,
    BatchFinished,
    HandshakeWent,
    LineStopped,
    SignerAwaited,
    SignerBack,
    SlotSuspect,
    Step,
    StepBegan,
    UnitFinished,
    UnitSeen,
    Verdict,
)
from station.exits import Exit
from tests.cli.commands import STATION, Done
from tests.cli.plant import Site, image
from tests.cli.terminal import OnTerminal, Screen
from tests.cli.test_batch import NO_HANDSHAKE
from tests.trust import orders
from trust.order import WorkOrder

pytestmark = pytest.mark.xdist_group("site")
AT = "2026-01-31T12:00:00.000001Z"
IDS = ["00112233445566778899aabb", "ffeeddccbbaa998877665544"]


def command(site: Site, order: str, *words: object, **changes: object) -> list[str]:
    return [
        STATION,
        "run",
        "--config",
        str(site.config),
        "--order",
        str(site.order(order, **changes)),
        *map(str, words),
    ]


def below_the_proof(text: str) -> str:
    """Without the line that says before the batch what will show that units and cloud know each other."""
    assert text.startswith(NO_HANDSHAKE), text
    return text.removeprefix(NO_HANDSHAKE)


def test_rows_stay_and_the_tally_follows(site: Site, first_batch: Done) -> None:
    with OnTerminal(command(site, "main", "--slots", "ec-02,ec-01")) as run:
        assert run.end() == 0
    title, head, rule, *rows, tally = below_the_proof(run.screen.text).splitlines()
    assert title == "order main · demo-ec · environment demo · emulated units"
    assert head.split() == ["slot", "unit", "verdict", "step", "s"]
    assert set(rule) == {"─"}
    for slot, row in zip(("ec-02", "ec-01"), rows, strict=True):
        assert re.fullmatch(rf"{slot}  {site.device(slot)}  ✔ PASS        already passed, active +\d+\.\d\d", row), row
    assert tally.startswith("order main: 2 passed (2 already), 0 failed, 0 held, 0 quarantined in ")
    assert all(len(line) <= 80 for line in run.screen.lines)
    assert any("32" in colour.split(";") for colour in run.screen.colours), "green"


def test_what_did_not_pass_stands_below_in_full(site: Site, first_batch: Done) -> None:
    with OnTerminal(
        command(site, "other", "--slots", "ec-01", "--retries", "0", product='"lamp"', product_id="7")
    ) as run:
        assert run.end() == Exit.UNIT_FAILED
    lines = below_the_proof(run.screen.text).splitlines()
    assert re.fullmatch(rf"ec-01  {site.device('ec-01')}  ✘ FAIL        wrong-product +\d+\.\d\d", lines[3])
    below = " ".join(" ".join(lines[4:]).split())
    assert below.startswith(
        "wrong-product: This unit is another product than the order's. Put it in the wrong-product bin."
    )
    assert "ec-01 wrong-product at identified [unit has product id 1001, the order 7]" in below


def test_data_goes_to_a_file_while_a_person_watches(site: Site, first_batch: Done, tmp_path: Path) -> None:
    with (
        (tmp_path / "out").open("wb") as out,
        OnTerminal(command(site, "main", "--slots", "ec-01,ec-02"), stdout=out.fileno()) as run,
    ):
        assert run.end() == 0
    assert run.screen.text.count("✔ PASS") == 2
    assert "order main: 2 passed" not in run.screen.text
    lines = (tmp_path / "out").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["PASS", "PASS", "main:"]


def test_jsonl_on_a_terminal_is_only_json(site: Site, first_batch: Done) -> None:
    with OnTerminal(command(site, "main", "--slots", "ec-01", "--jsonl"), columns=2000) as run:
        assert run.end() == 0
    assert all(line.startswith('{"event":') for line in run.screen.text.splitlines())


def test_ctrl_c_lets_the_unit_end(site: Site, faulty_slots: Path) -> None:
    words = ["--slots-file", faulty_slots, "--slots", "slow-05", "--count", "3"]
    with OnTerminal(command(site, "slow", *words, firmware=image(IMAGE.hex()))) as run:
        run.wait_until(lambda shown: "████░░░░░░░░░ keyed" in shown)
        run.press("\x03")
        assert run.end() == Exit.INTERRUPTED
    first = below_the_proof(run.screen.text).splitlines()[0]
    assert first.startswith("interrupted: units in work come to their end"), run.screen.text
    assert "✔ PASS" in run.screen.text
    text = run.screen.text.replace("\n", "")
    assert (
        "interrupted: 1 unit was under way and has its verdict; nothing is lost, insert again what did not pass" in text
    )
    assert "outbox: " in text


def test_ctrl_c_before_the_first_unit(site: Site, tmp_path: Path) -> None:
    """The signer does not answer: the batch waits, and no unit was begun."""
    silent = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(silent))
        listener.listen()
        config = site.config_with("silent", ("signer-factory/run/signer.sock", str(silent)))
        argv = command(site, "main")
        argv[argv.index(str(site.config))] = str(config)
        # The line is open until the end: a signer that hangs up is another fault.
        with OnTerminal(argv) as run, listener.accept()[0]:
            run.press("\x03")
            assert run.end() == Exit.INTERRUPTED, run.screen.text
    assert below_the_proof(run.screen.text) == "^Cinterrupted: no unit was begun, no device was touched"


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch):
    """A live table on a pretended terminal, and what stands on it at a width."""
    from rich.console import Console

    def make(columns: int, *slots: str, key_type: str = "ec-p256", count: int | None = None) -> tuple[Progress, object]:
        work = _work(key_type)
        live = Progress(work, slots, 180.0, count=count)

        def shown() -> list[str]:
            console = Console(width=columns, file=io.StringIO(), record=True)
            live._console = console
            console.print(live._screen())
            return [line.rstrip() for line in console.export_text().splitlines()]

        return live, shown

    return make


def _work(key_type: str) -> WorkOrder:
    return orders.make("00" * 32, ("st-01",), "ab" * 32, order_id="o-1", key_type=key_type, quantity=1, allowance=0)


def unit(slot: str, device: str, verdict: Verdict, **fields) -> UnitFinished:
    return UnitFinished(at=AT, slot=slot, verdict=verdict, order="o-1", device_id=device, seconds=12.5, **fields)


def begin(live: Progress, slot: str, device: str, *steps: Step, emulated: bool = False) -> None:
    live.show(AttemptBegan(at=AT, slot=slot))
    live.show(UnitSeen(at=AT, slot=slot, device_id=device, product_id=7, hardware="x", emulated=emulated))
    for step in steps:
        live.show(StepBegan(at=AT, slot=slot, step=step))


def test_each_verdict_has_a_shape_and_a_word_of_its_own() -> None:
    assert len({mark for mark, _ in MARKS.values()}) == len(MARKS) == len(Verdict)
    for verdict, (mark, _) in MARKS.items():
        row = Row()
        row.take(unit("s", IDS[0], verdict, cloud="active"))
        assert str(row.verdict()) == f"{mark} {verdict}"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(progress, columns: int) -> None:
    live, shown = progress(columns, "slot-01", "slot-02", "slot-03")
    for slot, verdict in (("slot-01", Verdict.QUARANTINE), ("slot-02", Verdict.HELD)):
        live.show(
            unit(slot, IDS[0], verdict, code="registry-unreachable", remedy="Put the unit in the hold bin; insert it.")
        )
    begin(live, "slot-03", IDS[1], Step.IDENTIFIED)
    assert max(map(len, shown())) <= columns
    assert sum("QUARANTINE" in line or "HELD" in line for line in shown()) == 2


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_names_and_ids_are_never_cut(progress, columns: int) -> None:
    """Who cannot read a slot's name cannot type it."""
    names = ["fixture-7.upper-row.nest-03", "fixture-7.upper-row.nest-04"]
    live, shown = progress(columns, *names)
    begin(live, names[0], IDS[0])
    live.show(unit(names[0], IDS[0], Verdict.FAIL, code="c", remedy=f"Look at {'x' * 40}."))
    begin(live, names[1], IDS[1], Step.IDENTIFIED)
    lines = [line for line in shown()[3:] if line]
    last = next(number for number, line in enumerate(lines) if line.startswith("c: "))
    rows, below = lines[:last], lines[last:]
    slot = 8 if columns < 80 else 16
    assert max(map(len, lines)) <= columns
    assert "".join(line[:slot].rstrip() for line in rows) == "".join(names)
    assert [line[slot + 1 :].split()[0] for line in rows if line[slot + 1 : slot + 25].strip()] == IDS
    assert sum(line.count("x") for line in below) == 40


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("already", [False, True])
@pytest.mark.parametrize("handshake", ["proved", "waived", "not-asked"])
def test_a_pass_without_its_handshake_does_not_look_like_one_with_it(
    progress, columns: int, already: bool, handshake: str
) -> None:
    live, shown = progress(columns, "slot-01")
    begin(live, "slot-01", IDS[0])
    live.show(unit("slot-01", IDS[0], Verdict.PASS, cloud="active", already=already, handshake=handshake))
    live.show(batch(passed=1, waived=int(handshake == "waived")))
    words = " ".join(word for line in shown()[3:] for word in line.split() if word)
    assert ("WAIVED" in words) == (handshake == "waived"), words
    assert ("1 of them without handshake (WAIVED)" in list(live.rest())[-1]) == (handshake == "waived")
    assert max(map(len, shown())) <= columns


def test_a_running_step_has_its_place_in_the_flow(progress) -> None:
    live, shown = progress(100, "slot-01")
    assert "waiting for a unit" in shown()[3]
    begin(live, "slot-01", IDS[0], Step.KEYED)
    assert "████░░░░░░░░░ keyed" in shown()[3]
    live, shown = progress(70, "slot-01")
    begin(live, "slot-01", IDS[0], Step.KEYED)
    assert "4/13 keyed" in shown()[3], "no room for a bar"


@pytest.mark.parametrize(("columns", "before"), [(100, "███████████░░ "), (72, "11/13 ")])
def test_a_handshake_that_hangs_is_seen_to_be_one(progress, columns: int, before: str) -> None:
    live, shown = progress(columns, "slot-01")
    begin(live, "slot-01", IDS[0], Step.VERIFIED)
    assert f"{before}verified" in shown()[3]
    live.show(HandshakeWent(at=AT, slot="slot-01"))
    assert f"{before}handshake" in shown()[3]
    live.show(HandshakeWent(at=AT, slot="slot-01", outcome="proved"))
    assert f"{before}verified" in shown()[3]
    live.show(HandshakeWent(at=AT, slot="slot-01"))
    live.show(StepBegan(at=AT, slot="slot-01", step=Step.LOCKED))
    assert "handshake" not in shown()[3]


def test_seconds_run_and_an_rsa_key_says_how_long_it_may_take(progress) -> None:
    live, shown = progress(80, "slot-01", key_type="rsa-2048")
    begin(live, "slot-01", IDS[0], Step.KEYED)
    assert "4/13 RSA key, ≤ 180 s" in shown()[3]
    row = live._rows["slot-01"]
    assert float(row.seconds(row._began + 61.25)) == pytest.approx(61.2, abs=0.1)


def test_a_slot_that_serves_the_next_unit_forgets_the_last_one(progress) -> None:
    live, shown = progress(80, "slot-01")
    begin(live, "slot-01", IDS[0])
    live.show(unit("slot-01", IDS[0], Verdict.PASS, fingerprint="ab" * 32))
    live.show(AttemptBegan(at=AT, slot="slot-01"))
    assert IDS[0] not in "".join(shown())
    assert next(live.rest()).startswith(f"slot-01    PASS       {IDS[0]}"), "its line is not lost"


def test_emulated_units_are_marked_one_by_one_beside_real_ones(progress) -> None:
    live, shown = progress(80, "slot-01", "slot-02")
    begin(live, "slot-01", IDS[0], emulated=True)
    assert "emulated units" in shown()[0]
    begin(live, "slot-02", IDS[1])
    assert "emulated" not in shown()[0]
    assert sum("emulated" in line for line in shown()) == 1


def test_a_signer_that_is_waited_for_is_told_until_it_is_back(progress) -> None:
    live, shown = progress(100, "slot-01")
    live.show(SignerAwaited(at=AT, sentence="No signer.", remedy="Look at it.", detail="gone"))
    assert "No signer. Look at it. [gone]" in "\n".join(shown())
    live.show(SignerBack(at=AT, seconds=2.0))
    assert "No signer." not in "\n".join(shown())


def test_a_suspect_slot_and_a_line_stop_say_what_to_do(progress) -> None:
    live, shown = progress(100, "slot-01")
    live.show(SlotSuspect(at=AT, slot="slot-01", count=3, sentence="Three failed.", remedy="Check it."))
    live.show(LineStopped(at=AT, code="signer-down", sentence="No signer.", remedy="Start it.", detail="", exit_code=6))
    text = "\n".join(shown())
    assert "▲ SUSPECT" in text
    assert "Three failed. Check it." in text
    assert "LINE STOP: No signer. Start it." in text
    live.show(
        BatchFinished(
            at=AT, order="o-1", passed=0, failed=0, held=1, quarantined=0, already=0, outbox=0, seconds=1, exit_code=7,
            finish_me=(IDS[0],),
        )
    )  # fmt: skip
    assert f"finish me  {IDS[0]}  insert it again when the registry, or its device service, answers" in list(
        live.rest()
    )


HELD = {"code": "registry-unreachable", "sentence": "The registry does not answer.", "step": Step.PINNED,
        "remedy": "Put the unit in the hold bin; insert it again when it answers (station check --config c.toml).",
        "detail": "no connection to https://registry.example:8443: nobody listens there"}  # fmt: skip


def batch(**fields) -> BatchFinished:
    nothing = dict.fromkeys(("passed", "failed", "held", "quarantined", "already", "outbox"), 0)
    return BatchFinished(at=AT, order="o-1", seconds=1, exit_code=7, **{**nothing, **fields})


def test_eight_held_units_and_what_to_do_fit_on_a_screen(progress) -> None:
    """80 columns, 24 lines, the prompt among them."""
    slots = [f"ec-{number:02}" for number in range(1, 9)]
    ids = {slot: f"{number:024x}" for number, slot in enumerate(slots)}
    live, shown = progress(80, *slots)
    for slot in slots:
        begin(live, slot, ids[slot], emulated=True)
        live.show(unit(slot, ids[slot], Verdict.HELD, emulated=True, **HELD))
    live.show(batch(held=8, outbox=8, finish_me=tuple(ids.values())))
    table, rest = shown(), list(live.rest())
    assert sum("HELD" in line for line in table) == 8
    assert " ".join(table).count("Put the unit in the hold bin") == 1
    assert [line for line in table if "HELD" in line] == table[3:11], "a line a slot"
    assert rest[0] == f"{', '.join(slots)}  registry-unreachable at pinned [{HELD['detail']}]"
    assert rest[2:] == [
        "finish me  the 8 units HELD above  insert it again when the registry, or its device service, answers"
    ]
    lines = len(table) + sum(-(-len(line) // 80) for line in rest)
    assert lines <= 23, table + rest


def test_what_differs_is_told_of_each(progress) -> None:
    live, shown = progress(100, "a", "b", "c")
    live.show(unit("a", IDS[0], Verdict.HELD, **HELD))
    begin(live, "b", IDS[1])
    live.show(unit("b", IDS[1], Verdict.HELD, **{**HELD, "detail": "no answer within 10 s"}))
    live.show(unit("c", "", Verdict.FAIL, code="no-answer", sentence="It is mute.", remedy="Check the cable."))
    text = "\n".join(shown())
    assert text.count("Put the unit in the hold bin") == 1
    assert "no-answer: It is mute. Check the cable." in text
    live.show(batch(held=2, failed=1, finish_me=(IDS[1], "f" * 24)))
    assert list(live.rest()) == [
        f"a  registry-unreachable at pinned [{HELD['detail']}]",
        "b  registry-unreachable at pinned [no answer within 10 s]",
        "c  no-answer",
        "order o-1: 0 passed, 1 failed, 2 held, 0 quarantined in 1.0 s",
        "finish me  the unit HELD above  insert it again when the registry, or its device service, answers",
        f"finish me  {'f' * 24}  insert it again when the registry, or its device service, answers",
    ], "a held unit of an earlier batch is not above: it keeps its id"


def test_an_attempt_that_is_tried_again_leaves_its_line(progress) -> None:
    live, shown = progress(80, "slot-01")
    begin(live, "slot-01", IDS[0])
    live.show(
        unit("slot-01", IDS[0], Verdict.FAIL, again=True, code="garbled", sentence="It is garbled.", remedy="No.")
    )
    begin(live, "slot-01", IDS[0], Step.KEYED)
    assert "garbled" not in "".join(shown())
    live.show(unit("slot-01", IDS[0], Verdict.PASS, fingerprint="ab" * 32))
    assert list(live.rest()) == [f"slot-01    again      {IDS[0]}  garbled: It is garbled. It is tried again."]


def test_slots_that_wait_for_further_units_say_so(progress) -> None:
    live, shown = progress(80, "a", "b", count=3)
    waiting = "of 3 units have their verdict: take a unit out and put the next one in"
    for slot, device in zip("ab", IDS, strict=True):
        begin(live, slot, device, Step.KEYED)
    live.show(unit("a", IDS[0], Verdict.PASS))
    assert waiting not in "\n".join(shown()), "one slot is at work"
    live.show(unit("b", IDS[1], Verdict.FAIL, again=True))
    begin(live, "b", IDS[1], Step.KEYED)
    live.show(unit("b", IDS[1], Verdict.PASS))
    assert f"2 {waiting}" in "\n".join(shown())
    live.show(batch(passed=2))
    assert waiting not in "\n".join(shown()), "the batch has ended"


def test_the_tests_terminal_refuses_what_it_does_not_know() -> None:
    screen = Screen(10)
    screen.feed("ab\rc\x1b[31md\x1b[0m\r\n" + "x" * 11)
    assert screen.text == "cd\nxxxxxxxxxx\nx"
    with pytest.raises(ValueError, match="'H'"):
        screen.feed("\x1b[2H")
