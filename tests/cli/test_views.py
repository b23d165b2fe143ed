"""Lines and files that scripts read, byte for byte. Whoever changes one changes a contract: say so in CHANGELOG.md."""

import dataclasses

import msgspec
import pytest

from station.cli import views
from station.events import (
    AnyEvent,
    AttemptBegan,
    BatchFinished,
    HandshakeWent,
    LineStopped,
    OutboxSent,
    Rehearsed,
    SignerAwaited,
    SignerBack,
    SlotSuspect,
    Step,
    StepBegan,
    StepDone,
    UnitFinished,
    UnitSeen,
    Verdict,
)

AT = "2026-01-31T12:00:00.000001Z"
DEVICE = "00112233445566778899aabb"
JOB = "ab" * 16
PASS = UnitFinished(
    at=AT, slot="ec-01", verdict=Verdict.PASS, order="o-1", device_id=DEVICE, job=JOB, fingerprint="cd" * 32, attempt=1,
    cloud="provisional", handshake="proved", emulated=True, seconds=1.25,
)  # fmt: skip
FAIL = UnitFinished(
    at=AT, slot="ec-02", verdict=Verdict.FAIL, order="o-1", step=Step.IDENTIFIED, code="no-answer",
    sentence="The device does not answer.", remedy="Check cable.", detail="identify: 3 <s> & more", seconds=3.0, exit_code=1,
)  # fmt: skip
HELD = msgspec.structs.replace(
    PASS, verdict=Verdict.HELD, step=Step.PINNED, code="registry-unreachable", sentence="The registry does not answer.",
    remedy="Hold it.", fingerprint="", cloud="", handshake="", exit_code=7,
)  # fmt: skip
QUARANTINE = msgspec.structs.replace(
    HELD, verdict=Verdict.QUARANTINE, step=Step.ANCHORED, code="anchor-differs", sentence="It differs.",
    remedy="Bin it.", detail="x", emulated=False, exit_code=3,
)  # fmt: skip
BATCH = BatchFinished(
    at=AT, order="o-1", passed=2, failed=1, held=1, quarantined=1, already=0, outbox=0, seconds=12.345, exit_code=3
)
STOP = LineStopped(at=AT, code="signer-down", sentence="No signer.", remedy="Start it.", detail="gone", exit_code=6)
SUSPECT = SlotSuspect(at=AT, slot="ec-02", count=3, sentence="3 failed here.", remedy="Check the slot.")
REHEARSED = Rehearsed(at=AT, order="o-1", slots=("ec-01", "ec-02"))
LEFT = OutboxSent(at=AT, found=3, waiting=1)
SEEN = UnitSeen(at=AT, slot="ec-01", device_id=DEVICE, product_id=7, hardware="ast1030", emulated=True)

PLAIN: list[tuple[AnyEvent, tuple[str, ...]]] = [
    (AttemptBegan(at=AT, slot="ec-01"), ()),
    (StepBegan(at=AT, slot="ec-01", step=Step.KEYED), ()),
    (StepDone(at=AT, slot="ec-01", step=Step.KEYED, seconds=0.5), ()),
    (SEEN, ()),
    (
        PASS,
        (f"ec-01      PASS       {DEVICE}  safe at the station  key cdcdcdcdcdcdcdcd  1.25 s  emulated",),
    ),
    (
        msgspec.structs.replace(PASS, already=True, cloud="active", emulated=False),
        (f"ec-01      PASS       {DEVICE}  already passed, active in the cloud  key cdcdcdcdcdcdcdcd  1.25 s",),
    ),
    (
        msgspec.structs.replace(PASS, handshake="waived", emulated=False),
        ((f"ec-01      PASS       {DEVICE}  safe at the station, handshake WAIVED  key cdcdcdcdcdcdcdcd  1.25 s"),),
    ),
    (
        msgspec.structs.replace(PASS, handshake="waived", already=True, cloud="active", emulated=False),
        (
            (
                f"ec-01      PASS       {DEVICE}  already passed, active in the cloud, handshake WAIVED  "
                "key cdcdcdcdcdcdcdcd  1.25 s"
            ),
        ),
    ),
    (
        FAIL,
        (
            (
                "ec-02      FAIL       no device                 no-answer at identified: The device does not answer. "
                "Check cable. [identify: 3 <s> & more]"
            ),
        ),
    ),
    (
        HELD,
        (
            (
                f"ec-01      HELD       {DEVICE}  registry-unreachable at pinned: The registry does not answer. "
                "Hold it.  emulated"
            ),
        ),
    ),
    (
        msgspec.structs.replace(FAIL, again=True),
        (
            (
                "ec-02      again      no device                 no-answer at identified: The device does not answer. "
                "It is tried again. [identify: 3 <s> & more]"
            ),
        ),
    ),
    (QUARANTINE, (f"ec-01      QUARANTINE {DEVICE}  anchor-differs at anchored: It differs. Bin it. [x]",)),
    (STOP, ("LINE STOP  No signer. Start it. (signer-down: gone)",)),
    (LEFT, ()),  # said on stderr, before the lines of the batch
    (REHEARSED, ()),  # said on stderr, too
    (
        SignerAwaited(at=AT, sentence="No signer.", remedy="Look at it.", detail=""),
        ("WAITING    No signer. Look at it.",),
    ),
    (
        SignerAwaited(at=AT, sentence="No signer.", remedy="Look at it.", detail="it is not running"),
        ("WAITING    No signer. Look at it. [it is not running]",),
    ),
    (SignerBack(at=AT, seconds=3.25), ("GOES ON    the signer answers again after 3.2 s",)),
    (HandshakeWent(at=AT, slot="ec-01"), ()),
    (HandshakeWent(at=AT, slot="ec-01", outcome="proved"), ()),
    (
        HandshakeWent(at=AT, slot="ec-01", outcome="waived", waiver="service-away"),
        ("ec-01      WAIVED     no live handshake (service-away), as the order allows",),
    ),
    (SUSPECT, ("ec-02      SUSPECT    3 failed here. Check the slot.",)),
    (
        msgspec.structs.replace(BATCH, already=1, waived=2),
        (
            (
                "order o-1: 2 passed (1 already), 2 of them without handshake (WAIVED), 1 failed, 1 held, 1 quarantined "
                "in 12.3 s"
            ),
        ),
    ),
    (BATCH, ("order o-1: 2 passed, 1 failed, 1 held, 1 quarantined in 12.3 s",)),
    (
        msgspec.structs.replace(BATCH, already=2, outbox=1, finish_me=(DEVICE,)),
        (
            "order o-1: 2 passed (2 already), 1 failed, 1 held, 1 quarantined in 12.3 s; 1 statement waits for the registry",
            f"finish me  {DEVICE}  insert it again when the registry, or its device service, answers",
        ),
    ),
    (
        msgspec.structs.replace(BATCH, outbox=12),
        ("order o-1: 2 passed, 1 failed, 1 held, 1 quarantined in 12.3 s; 12 statements wait for the registry",),
    ),
    (
        msgspec.structs.replace(BATCH, outbox=2, objected=2, finish_me=(DEVICE,)),
        (
            "order o-1: 2 passed, 1 failed, 1 held, 1 quarantined in 12.3 s; 2 statements wait for the registry",
            f"finish me  {DEVICE}  insert it again when the registry, or its device service, answers",
            (
                "objected   2 statements: the registry answered, but with no receipt. Nothing is lost: what it objects to "
                "stays in the outbox. The log (stderr) says why; call the line engineer, then station check --config FILE"
            ),
        ),
    ),
    (
        msgspec.structs.replace(BATCH, outbox=None),
        ("order o-1: 2 passed, 1 failed, 1 held, 1 quarantined in 12.3 s; the ledger cannot be read",),
    ),
]


@pytest.mark.parametrize(
    ("event", "lines"), PLAIN, ids=[f"{number}-{type(e).__name__}" for number, (e, _) in enumerate(PLAIN)]
)
def test_plain_lines(event: AnyEvent, lines: tuple[str, ...]) -> None:
    assert views.plain_lines(event) == lines


def test_every_kind_of_event_has_its_plain_form() -> None:
    assert {type(event) for event, _ in PLAIN} == set(AnyEvent.__args__)


def test_verbose_lines() -> None:
    assert views.step_line(SEEN) == f"ec-01      unit {DEVICE}, product 7, ast1030 (emulated)"
    assert views.step_line(PLAIN[2][0]) == "ec-01      keyed         500.0 ms"
    assert views.step_line(PASS) is None
    going = HandshakeWent(
        at=AT, slot="ec-01", exchanges=4, from_unit=210, to_unit=640, unit_seconds=0.25, cloud_seconds=1.5
    )
    said = "4 exchanges, 210 bytes from the unit, 640 to it; 250.0 ms with the unit, 1500.0 ms with the cloud"
    assert views.step_line(HandshakeWent(at=AT, slot="ec-01")) == "ec-01      handshake  begins"
    assert views.step_line(going) == f"ec-01      handshake  {said}"
    assert views.step_line(msgspec.structs.replace(going, outcome="proved")) == f"ec-01      handshake  proved, {said}"
    waived = HandshakeWent(at=AT, slot="ec-01", outcome="waived", waiver="no-tunnel")
    assert views.step_line(waived) is None, "it has its plain line"


@pytest.mark.parametrize(
    ("found", "waiting", "line"),
    [
        (1, 0, "outbox: 1 statement was left from earlier; 1 sent, none left"),
        (3, 1, "outbox: 3 statements were left from earlier; 2 sent, 1 still in it: sent again during this batch"),
    ],
)
def test_what_was_left_over(found: int, waiting: int, line: str) -> None:
    assert views.left_over_line(OutboxSent(at=AT, found=found, waiting=waiting)) == line


@pytest.mark.parametrize(
    ("under_way", "outbox", "units", "rest"),
    [
        (0, 0, "no unit was under way", "empty, the registry has acknowledged everything"),
        (1, 1, "1 unit was under way and has its verdict", "1 statement, safe in the ledger; the next batch sends it"),
        (2, 9, "2 units were under way and have their verdicts", "9 statements, safe in the ledger; the next batch sends them"),
        (2, None, "2 units were under way and have their verdicts", "unknown, the ledger cannot be read"),
    ],
)  # fmt: skip
def test_what_an_interruption_leaves(under_way: int, outbox: int | None, units: str, rest: str) -> None:
    batch = msgspec.structs.replace(BATCH, interrupted=True, under_way=under_way, outbox=outbox)
    assert views.interrupted_lines(batch) == (
        f"interrupted: {units}; nothing is lost, insert again what did not pass",
        f"outbox: {rest}",
    )


JSON = [
    (AttemptBegan(at=AT, slot="s"), f'{{"event":"attempt-began","at":"{AT}","slot":"s"}}'),
    (
        PASS,
        (
            f'{{"event":"unit-finished","at":"{AT}","slot":"ec-01","verdict":"PASS","order":"o-1","device_id":"{DEVICE}",'
            f'"job":"{JOB}","fingerprint":"{"cd" * 32}","attempt":1,"step":null,"code":"","sentence":"","remedy":"",'
            '"detail":"","already":false,"again":false,"cloud":"provisional","handshake":"proved","emulated":true,"seconds":1.25,"exit_code":0}'
        ),
    ),
    (
        msgspec.structs.replace(BATCH, finish_me=(DEVICE,)),
        (
            f'{{"event":"batch-finished","at":"{AT}","slot":"","order":"o-1","passed":2,"failed":1,"held":1,'
            f'"quarantined":1,"already":0,"waived":0,"outbox":0,"objected":0,"seconds":12.345,"exit_code":3,"finish_me":["{DEVICE}"],"to_quarantine":[],"interrupted":false,'
            '"under_way":0}'
        ),
    ),
    (LEFT, f'{{"event":"outbox-sent","at":"{AT}","slot":"","found":3,"waiting":1}}'),
    (
        REHEARSED,
        f'{{"event":"rehearsed","at":"{AT}","slot":"","order":"o-1","slots":["ec-01","ec-02"],"proofs":[],"handshake_waivers":[]}}',
    ),
    (
        SUSPECT,
        (
            f'{{"event":"slot-suspect","at":"{AT}","slot":"ec-02","count":3,"sentence":"3 failed here.",'
            '"remedy":"Check the slot."}'
        ),
    ),
]


@pytest.mark.parametrize(("event", "line"), JSON)
def test_json_lines(event: AnyEvent, line: str) -> None:
    assert views.json_line(event) == line


@pytest.mark.parametrize("event", [event for event, _ in PLAIN])
def test_json_lines_read_back_as_the_same_event(event: AnyEvent) -> None:
    line = views.json_line(event)
    assert "\n" not in line
    assert msgspec.json.decode(line, type=AnyEvent) == event


def test_events_are_frozen() -> None:
    with pytest.raises((AttributeError, dataclasses.FrozenInstanceError)):
        PASS.verdict = Verdict.FAIL  # type: ignore[misc]
