"""The campaigns of the outbox that works beside the flow: in every order of the two, and failing or dying at its calls.

What the outbox finds when the station starts was left by a station that died (`STARTS`). The outbox may change nothing
of how the insertion ends unless the ledger fails, and afterwards nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import disk
from tests.faults.insertion import Insertion, Outcome
from tests.faults.outboxes import Kind, Places
from tests.faults.points import KILLS, Mode, Plan, plans
from tests.faults.result import Result, Shard
from tests.faults.rig import Rig
from tests.faults.trial import Trial

FIRST, SECOND = "st-01", "st-02"
_ALL_THAT_IS_LEFT = 9  # calls: more than the outbox has to make
_ORDERS_WITH_FAULTS = 6  # of each start
_LEDGER_FAULTS = {"ledger-failed", "line-stopped"}
_NOT_THE_FLOW = ("outbox.", "token.", "receipts.", "signer.challenge", "signer.sign-checkpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What was there before: st-01 died so, and perhaps st-02 finished the unit then.

    `calls` are how many calls of the outbox there may be before a pause (the last: it has the PUT's answer), `ends` the
    faults that the insertion may end with.
    """

    died: Plan | None
    calls: tuple[int, ...]
    elsewhere: bool = False
    ends: frozenset[str] = frozenset({""})


STARTS = {
    "new": Start(died=None, calls=(1,)),
    "pin not sent": Start(died=Plan("cloud.pin 1", Mode.KILLED_BEFORE), calls=(1, 3)),
    "pin without answer": Start(died=Plan("cloud.pin 1", Mode.KILLED_AFTER), calls=(1, 3)),
    "completion not sent": Start(died=Plan("cloud.complete 1", Mode.KILLED_BEFORE), calls=(1, 2)),
    "completion without answer": Start(died=Plan("cloud.complete 1", Mode.KILLED_AFTER), calls=(1, 2)),
    "pin too late": Start(
        died=Plan("cloud.pin 1", Mode.KILLED_BEFORE), calls=(1, 3), elsewhere=True,
        ends=frozenset({"job-conflict", "pin-refused"}),
    ),
    "completion too late": Start(
        died=Plan("cloud.complete 1", Mode.KILLED_BEFORE), calls=(1, 2), elsewhere=True,
    ),
}  # fmt: skip


def outbox_beside(rig: Rig, shard: Shard, result: Result) -> None:
    """Every order of flow and outbox in which the disks differ."""
    number = 0
    for name, start in STARTS.items():
        begun = _begin(rig, name, start)
        for places in _orders(begun, start, shard, result):
            number += 1
            if shard.mine(number):
                _judge(begun, start, places, None, result)
        begun.drop()


def outbox_faults(rig: Rig, shard: Shard, result: Result) -> None:
    """Every fault at every call of the outbox, in six orders of each start."""
    begun = {name: _begin(rig, name, start) for name, start in STARTS.items()}
    orders = {name: _spread([*_orders(begun[name], STARTS[name], Shard(), result)]) for name in STARTS}
    chosen = [(name, orders[name][number]) for number in range(_ORDERS_WITH_FAULTS) for name in STARTS]
    result.points = 0
    for number, (name, places) in enumerate(chosen):
        if not shard.mine(number):
            continue
        whole = _judge(begun[name], STARTS[name], places, None, result)
        met = [each for each in whole.points if each.name.startswith("outbox.")]
        result.points += len(met)
        for plan in plans(met):
            _judge(begun[name], STARTS[name], places, plan, result)
    for each in begun.values():
        each.drop()


def eager_outbox(rig: Rig, shard: Shard, result: Result) -> None:
    """Negative control: an outbox that books a delivery before the PUT was answered. Only its troubles show it."""
    name = "completion not sent"
    start, begun = STARTS[name], _begin(rig, name, STARTS[name])
    places = next(iter(_orders(begun, start, Shard(), result)))
    whole = _judge(begun, start, places, None, result, "eager")
    told = [each for each in result.violations if "delivered_is_there" not in each]
    assert told == [], "undisturbed only the receipt's bytes may give it away"
    for plan in plans([each for each in whole.points if each.name == "outbox.cloud.complete"]):
        _judge(begun, start, places, plan, result, "eager")
    begun.drop()


def deaf_outbox(rig: Rig, shard: Shard, result: Result) -> None:
    """Negative control: an outbox that takes no refusal for good. What was signed too late waits for ever."""
    for name in ("pin too late", "completion too late"):
        begun = _begin(rig, name, STARTS[name])
        places = next(iter(_orders(begun, STARTS[name], Shard(), result)))
        _judge(begun, STARTS[name], places, None, result, "deaf", afterwards="deaf")
        begun.drop()


def _begin(rig: Rig, name: str, start: Start) -> Trial:
    """The disks as the outbox finds them."""
    trial = Trial.of(rig, name)
    if start.died is not None:
        assert trial.insert(Insertion(plan=start.died)).killed, name
    if start.elsewhere:
        assert trial.insert(Insertion(station=SECOND)).verdict == "PASS", name
    return trial


def _orders(begun: Trial, start: Start, shard: Shard, result: Result) -> Iterator[Places]:
    """The outbox begins at one place before the job is taken in hand, pauses in a call, and goes on at a later place."""
    survey = Trial.of(begun.rig, begun.name, begun)
    met = survey.insert(Insertion(survey=True, outbox="led"))
    survey.drop()
    led = [number for number, each in enumerate(met.points) if not each.name.startswith(_NOT_THE_FLOW)]
    keys = [met.points[number].key for number in led]
    differ = [keys[at] for at, _ in shard.cases([met.disks[number] for number in led])]
    result.points += len(differ)
    free = keys.index("ledger.begin 1") + 1
    if start.died is None:
        yield from (((key, _ALL_THAT_IS_LEFT),) for key in differ)
        yield tuple((key, 1) for key in keys)
        return
    for at, first in enumerate(keys[:free]):
        yield ((first, _ALL_THAT_IS_LEFT),)
        later = [key for key in differ if keys.index(key) > at]
        yield from (((first, calls), (then, _ALL_THAT_IS_LEFT)) for calls in start.calls for then in later)


def _spread(orders: list[Places]) -> list[Places]:
    """So many of them, evenly, the first and the last among them."""
    return [orders[number * (len(orders) - 1) // (_ORDERS_WITH_FAULTS - 1)] for number in range(_ORDERS_WITH_FAULTS)]


def _judge(
    begun: Trial,
    start: Start,
    places: Places,
    plan: Plan | None,
    result: Result,
    outbox: Kind = "led",
    *,
    afterwards: Kind = "quiet",
) -> Outcome:
    """One insertion with the outbox beside it, then one more as always; returns what the first one was."""
    where = ", ".join(f"{key} x {calls}" for key, calls in places)
    trial = Trial.of(
        begun.rig, f"{begun.name}, outbox at {where}" + (f", {plan.at} {plan.mode}" if plan else ""), begun
    )
    first = trial.insert(Insertion(outbox=outbox, places=places, plan=plan))
    result.count(first)
    trial.wants(first.killed == (plan is not None and plan.mode in KILLS), f"did not strike: {first}")
    ledger = plan is not None and plan.at.startswith("outbox.ledger")
    allowed = start.ends | (_LEDGER_FAULTS if ledger else set())
    trial.wants(first.killed or first.code in allowed, f"the outbox was noticed: {first}")
    last = trial.insert(Insertion(outbox=afterwards))
    trial.wants(last.code in start.ends, f"first {first}, then {last}")
    waiting = disk.pending(trial.place / f"{FIRST}.db")
    trial.wants(waiting == [], f"in the outbox for ever: {waiting}")
    stations = (FIRST, SECOND) if start.elsewhere else (FIRST,)
    replaced = start.elsewhere and start.ends != frozenset({""})
    result.violations += trial.finish(passed=True, replaced=replaced, stations=stations)
    result.trials += 1
    return first
