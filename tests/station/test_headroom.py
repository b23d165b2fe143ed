"""Room in an order: who counts, once each, and that a unit keeps its room until it has its verdict."""

from typing import Any

import pytest

from station.events import Step, UnitFinished, Verdict
from station.exits import Exit
from station.faults import Fault
from station.headroom import Headroom
from trust.identity import DeviceId

A, B, C, D, E = (DeviceId(bytes([number]) * 12) for number in range(1, 6))


def refusal(room: Headroom, device: DeviceId, slot: str = "2") -> str:
    with pytest.raises(Fault) as caught:
        room.enter(slot, device)
    return caught.value.code


def ended(device: DeviceId | None, verdict: Verdict, *, code: str = "no-answer", step: Step = Step.VERIFIED) -> Any:
    return UnitFinished(
        at="2026-01-31T12:00:00Z", slot="1", verdict=verdict, order="order-1", device_id=str(device) if device else "",
        emulated=True, job="", attempt=1, step=step, code=code, exit_code=Exit.UNIT_FAILED, seconds=1.0,
    )  # fmt: skip


def test_what_is_in_work_passed_or_held_leaves_no_room() -> None:
    room = Headroom(1)
    room.enter("1", A)
    assert refusal(room, B) == "order-full"
    room.leave("1", ended(A, Verdict.HELD))
    assert refusal(room, B) == "order-full"
    room.enter("1", A, intended=True)
    room.passed(A)
    room.leave("1", ended(A, Verdict.PASS))
    assert refusal(room, B) == "order-full"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.QUARANTINE])
def test_a_unit_that_fails_makes_room(verdict: Verdict) -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.leave("1", ended(A, verdict))
    room.enter("2", B)


def test_a_unit_keeps_its_room_from_one_attempt_to_the_next() -> None:
    room = Headroom(1)
    room.enter("1", A)
    assert refusal(room, B) == "order-full"
    room.enter("1", A)
    assert refusal(room, B) == "order-full"
    room.leave("1", ended(A, Verdict.FAIL))
    room.leave("1", ended(A, Verdict.HELD))  # a second end of the same
    room.enter("2", B)


def test_a_unit_that_is_moved_to_another_slot_between_two_attempts_keeps_its_room() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.enter("2", A)
    room.leave("1", ended(None, Verdict.FAIL))  # nobody answered there
    assert refusal(room, B, "1") == "order-full"


def test_another_unit_in_the_slot_takes_the_room_of_the_first() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.enter("1", B)
    assert refusal(room, A) == "order-full"


@pytest.mark.parametrize("who", [B, None])
def test_the_verdict_on_another_unit_or_on_nobody_says_nothing_of_the_first(who: DeviceId | None) -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.leave("1", ended(who, Verdict.HELD))
    room.enter("2", C)


def test_a_clone_in_the_next_slot_takes_no_room_and_gives_none_back() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.enter("2", A)
    room.leave("2", ended(A, Verdict.FAIL))
    assert refusal(room, B) == "order-full"


def test_a_unit_counts_once_whoever_has_its_room_and_however_often_it_is_told() -> None:
    room = Headroom(2)
    room.enter("1", A)  # a clone
    room.enter("2", A)
    for _ in range(2):
        room.passed(A)
    room.enter("3", B)
    assert refusal(room, C, "4") == "order-full"


def test_an_impostor_takes_no_room_from_a_held_unit() -> None:
    room = Headroom(1, held=[A])
    room.enter("1", A, intended=True)
    room.leave("1", ended(A, Verdict.QUARANTINE, code="bad-proof", step=Step.PROVEN))
    assert refusal(room, B) == "order-full"
    room.enter("1", A, intended=True)
    room.leave("1", ended(A, Verdict.QUARANTINE, code="key-changed"))
    room.enter("2", B)


def test_what_may_be_signed_goes_on_in_a_full_order() -> None:
    room = Headroom(1, passed=1)
    assert refusal(room, A) == "order-full"
    room.enter("1", A, intended=True)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.QUARANTINE, Verdict.HELD])
@pytest.mark.parametrize("later", [Step.INSERTED, Step.VERIFIED, Step.PASSED])
def test_what_may_be_completed_counts_whatever_ends_its_attempts(verdict: Verdict, later: Step) -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.asks(A, Step.PASSED)
    room.leave("1", ended(A if later is not Step.INSERTED else None, verdict, code="unit-changed", step=later))
    assert refusal(room, B) == "order-full"


def test_what_the_signer_has_refused_to_complete_does_not() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.asks(A, Step.PASSED)
    room.leave("1", ended(A, Verdict.QUARANTINE, code="challenge-unknown", step=Step.PASSED))
    room.enter("2", B)


def test_what_the_signer_was_asked_for_counts_until_its_answer_is_on_record() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.asks(A, Step.SIGNED)
    room.leave("1", ended(A, Verdict.FAIL, code="signer-down", step=Step.SIGNED))
    assert refusal(room, B) == "order-full"
    room.enter("1", A, intended=True)
    room.signed(A)
    room.leave("1", ended(A, Verdict.FAIL))
    room.enter("2", B)
    room.asks(B, Step.SIGNED)
    room.leave("2", ended(B, Verdict.FAIL, code="order-refuses", step=Step.SIGNED))
    room.enter("3", C)


def test_the_fault_names_the_units_that_are_begun() -> None:
    room = Headroom(4, held=[A, B], asked={Step.SIGNED: [C], Step.PASSED: [D]})
    with pytest.raises(Fault) as caught:
        room.enter("1", E)
    assert all(str(each) in caught.value.detail for each in (A, B, C))
    assert "and 1 more" in caught.value.detail


def test_the_allowance_bounds_the_units_that_are_signed_for() -> None:
    """Those of which the signer was asked are counted once, whoever tells of them."""
    room = Headroom(3, asked={Step.SIGNED: [A]}, signatures=2)
    room.enter("1", B)
    assert refusal(room, C) == "order-full"
    room.enter("2", A, intended=True)
    room.signed(A)
    room.signed(B)
    room.leave("1", ended(B, Verdict.FAIL))
    assert refusal(room, C, "1") == "order-full", "there is room, and no signature"
    room.enter("1", B, signed_for=True)


def test_a_line_stop_after_the_pin_gives_no_room_back() -> None:
    room = Headroom(1)
    room.enter("1", A)
    room.signed(A)
    room.leave("1", ended(A, Verdict.FAIL, code="line-stopped"))
    assert refusal(room, B) == "order-full"
    room.enter("1", A, signed_for=True)
    room.leave("1", ended(A, Verdict.FAIL))
    room.enter("2", B)


def test_an_order_that_is_over_begins_nothing_and_finishes_what_was_signed_for() -> None:
    room = Headroom(5, closed="order-1: it ended at 2026-01-31T12:00:00Z")
    assert refusal(room, A) == "order-full"
    room.enter("1", B, signed_for=True)
    room.enter("2", C, intended=True)


def test_so_many_units_may_wait_as_the_order_allows() -> None:
    room = Headroom(5, held=[A], offline=1)
    assert refusal(room, B) == "held-too-many"
    room.enter("1", A)
    room.passed(A)
    room.leave("1", ended(A, Verdict.PASS))
    room.enter("2", B)
