"""Room in an order: who counts, who does not, and that only who took a place gives it back."""

import pytest

from station.events import Verdict
from station.faults import Fault
from station.headroom import Headroom
from trust.identity import DeviceId

A, B, C = (DeviceId(bytes([number]) * 12) for number in (1, 2, 3))


def refusal(room: Headroom, device: DeviceId) -> str:
    with pytest.raises(Fault) as caught:
        room.take(device, begun=False)
    return caught.value.code


def test_what_is_in_work_passed_or_held_leaves_no_room() -> None:
    room = Headroom(1, passed=0)
    place = room.take(A, begun=False)
    assert place is not None
    assert refusal(room, B) == "order-full"
    place.give_back(Verdict.HELD, proved=True)
    assert refusal(room, B) == "order-full"
    again = room.take(A, begun=True)
    assert again is not None
    again.passed()
    assert refusal(room, B) == "order-exhausted"


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.QUARANTINE])
def test_a_unit_that_fails_makes_room(verdict: Verdict) -> None:
    room = Headroom(1, passed=0)
    place = room.take(A, begun=False)
    assert place is not None
    place.give_back(verdict, proved=True)
    assert room.take(B, begun=False) is not None


def test_who_did_not_take_a_place_gives_none_back() -> None:
    """A clone in the next slot, and a second end of the same attempt."""
    room = Headroom(1, passed=0)
    place = room.take(A, begun=False)
    assert place is not None
    assert room.take(A, begun=False) is None
    assert refusal(room, B) == "order-full"
    place.passed()
    place.give_back(Verdict.FAIL, proved=True)
    assert refusal(room, B) == "order-exhausted"


def test_an_impostor_takes_no_place_from_a_held_unit() -> None:
    room = Headroom(1, passed=0, held=[A])
    impostor = room.take(A, begun=True)
    assert impostor is not None
    impostor.give_back(Verdict.QUARANTINE, proved=False)
    assert refusal(room, B) == "order-full"
    real = room.take(A, begun=True)
    assert real is not None
    real.give_back(Verdict.QUARANTINE, proved=True)
    assert room.take(B, begun=False) is not None


def test_what_is_begun_goes_on_in_a_full_order() -> None:
    room = Headroom(1, passed=1)
    assert refusal(room, A) == "order-exhausted"
    assert room.take(A, begun=True) is not None
