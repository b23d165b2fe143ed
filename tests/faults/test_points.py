"""The wrappers leave nothing out: every verb of the five protocols is a fault point, and a plan strikes where it says."""

import asyncio

import pytest

from fixtures.device import Device
from fixtures.indicators import Indicators
from fixtures.slot import Slot
from hsm.signer import Signer
from station.cloud import Cloud
from station.jobs import Jobs
from station.relay import Relay
from tests.faults import parties, slots
from tests.faults.points import Failure, Met, Mode, Plan, Points, plans

FAILURES = (Failure(lambda: ValueError("planted")), Failure(lambda: KeyError("planted"), may_have_applied=False))
# Reads that the flow does not use, and what is asked between batches or at an officer's word: not of a unit.
NO_EFFECT = {"find", "jobs_of", "verdicts", "unfinished", "refused", "papers"}
BETWEEN_BATCHES = {"balance", "perform_act", "import_revocation", "return_allotment"}
REWORK = {"rekey_nonce", "rekey_step", "key_beside", "prove_beside"}  # struck in tests/registry/test_rework.py


def verbs(protocol: type) -> set[str]:
    return {name for name, what in vars(protocol).items() if callable(what) and not name.startswith("_")}


@pytest.mark.parametrize(
    ("protocol", "wrapper"),
    [
        (Device, slots.FaultyDevice),
        (Slot, slots.FaultySlot),
        (Signer, parties.FaultySigner),
        (Cloud, parties.FaultyCloud),
        (Relay, parties.FaultyRelay),
        (Jobs, parties.FaultyJobs),
        (Indicators, parties.FaultyIndicators),
    ],
)
def test_every_verb_of_a_party_is_a_fault_point(protocol: type, wrapper: type):
    assert verbs(protocol) - NO_EFFECT - BETWEEN_BATCHES - REWORK <= verbs(wrapper)


def strike(mode: Mode, failure: int = 0) -> tuple[list[str], Exception | None]:
    """What a call did when this plan struck at its second point."""
    done: list[str] = []
    points = Points(Plan("call 2", mode, failure))
    points.power_off = lambda: done.append("dark")

    async def story() -> None:
        for name in ("first", "second", "third"):
            await points.call("call", lambda name=name: act(name), FAILURES, powered=True)

    async def act(name: str) -> None:
        done.append(name)

    try:
        asyncio.run(story())
    except (ValueError, KeyError) as error:
        return done, error
    return done, None


def test_failed_is_not_applied():
    done, error = strike(Mode.FAILED, failure=1)
    assert done == ["first"]
    assert isinstance(error, KeyError)


def test_failed_but_applied_is_applied():
    done, error = strike(Mode.APPLIED)
    assert done == ["first", "second"]
    assert isinstance(error, ValueError)


def test_power_goes_before_or_after():
    assert strike(Mode.POWER_LOST_BEFORE) == (["first", "dark", "second", "third"], None)
    done, error = strike(Mode.POWER_LOST_AFTER)
    assert done == ["first", "second", "dark"]
    assert isinstance(error, ValueError)


def test_a_strike_after_a_call_also_strikes_when_the_answer_is_no():
    points = Points(Plan("call 1", Mode.APPLIED))

    def refuse() -> None:
        raise LookupError("the party's own answer")

    with pytest.raises(ValueError, match="planted"):
        points.call_sync("call", refuse, FAILURES)


def test_plans_are_every_fault_at_every_point_once():
    met = [Met("device.lock", (True, False), powered=True), Met("ledger.note", (True,), powered=False)]
    found = plans(met)
    assert len(found) == len(set(found)) == (2 + 1 + 2 + 2) + (1 + 1 + 2)
