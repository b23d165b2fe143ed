"""Group commit: what one request of a group does to the others, which is nothing, and what every caller hears."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from hsm import group_commit
from hsm.counters import Counters
from hsm.counters.file import StoreError
from hsm.group_commit import Errand, settle
from hsm.policy.challenge import ChallengeErrand
from hsm.policy.completion import CompletionCase
from hsm.policy.pin import PinCase
from hsm.signatory import refusal
from hsm.signer import SignerError
from hsm.token import TokenError, TokenUnavailableError
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import PinStatement


def settled(floor: Floor, errands: Sequence[Errand]) -> list[object]:
    """Each errand's answer, a refusal as its code."""
    answers = {
        id(errand): answer for part in settle(floor.factory.signatory.counters, errands) for errand, answer in part
    }
    assert len(answers) == len(errands), "a caller was left without answer, or got two"
    return [_shown(answers[id(errand)]) for errand in errands]


def _shown(answer: object) -> object:
    return refusal(answer).code if isinstance(answer, SignerError | TokenError | StoreError) else answer


def case(floor: Floor, pin: PinStatement | None = None) -> PinCase:
    return PinCase(floor.factory.signatory, pin or floor.pin(Device()))


def used(floor: Floor) -> int:
    return int(floor.factory.signatory.counters.run("SELECT pins FROM orders").fetchone()[0])


def rows(floor: Floor) -> dict[str, int]:
    """How much each table remembers; challenges by use."""
    run = floor.factory.signatory.counters.run
    found = {name: run(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("statements", "keys")}
    return found | {"challenges used": run("SELECT count(used_by) FROM challenges").fetchone()[0]}


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted, quantity=20), parties.factory, parties.cloud)


def misfits(floor: Floor) -> dict[str, PinStatement]:
    """Statements that are refused, early and late: the last two only after they have written something."""
    right = floor.pin(Device())
    return {
        "station": msgspec.structs.replace(right, station="st-99"),
        "vetting": msgspec.structs.replace(right, vetting=msgspec.structs.replace(right.vetting, verdict="weak")),
        "order": msgspec.structs.replace(right, order_id="order-9"),
        "challenge": floor.pin(Device(), bytes(32)),
    }


def hold_neighbours(floor: Floor, misfit: PinStatement, place: int) -> None:
    """Two good requests with a bad one before, between or behind them: as if it had not been there."""
    before = rows(floor)
    errands: list[Errand] = [case(floor), case(floor)]
    errands.insert(place, case(floor, misfit))
    answers = settled(floor, errands)
    assert isinstance(answers.pop(place), Code)
    assert all(isinstance(each, Envelope) for each in answers)
    assert rows(floor) == {name: count + 2 for name, count in before.items()}, "a refused request left something behind"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("why", ["station", "vetting", "order", "challenge"])
def test_a_refused_request_leaves_its_neighbours_alone(floor: Floor, why: str, place: int) -> None:
    hold_neighbours(floor, misfits(floor)[why], place)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_refusal_without_a_savepoint_of_its_own_is_caught(
    floor: Floor, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""

    @contextmanager
    def no_savepoint(self: Counters) -> Iterator[None]:
        yield

    monkeypatch.setattr(Counters, "savepoint", no_savepoint)
    with pytest.raises(AssertionError, match="left something behind"):
        hold_neighbours(floor, misfits(floor)["challenge"], place)


def test_the_last_unit_of_an_order_goes_to_one_of_a_group(parties: Parties) -> None:
    order = make_order(parties.trusted, quantity=3, allowance=0)
    floor = Floor(parties.trusted, order, parties.factory, parties.cloud)
    answers = settled(floor, [case(floor) for _ in range(8)])
    assert [isinstance(each, Envelope) for each in answers] == [True] * 3 + [False] * 5
    assert set(answers[3:]) == {Code.ORDER_EXHAUSTED}
    assert (used(floor), rows(floor)["keys"]) == (3, 3)


def test_identical_requests_in_one_group_are_one(floor: Floor, parties: Parties) -> None:
    pin = floor.pin(Device())
    first, other, second, third = settled(floor, [case(floor, pin), case(floor), case(floor, pin), case(floor, pin)])
    assert first == second == third != other
    assert (used(floor), parties.factory_token.signed["pin"]) == (2, 2)
    assert (floor.factory.status().signatures["pin"], floor.factory.status().resigned) == (2, 0)
    assert settled(floor, [case(floor, pin)]) == [first]


def test_one_device_twice_in_a_group_is_signed_for_once(floor: Floor) -> None:
    device = Device()
    pins = [floor.pin(device), floor.pin(device, made_at="2026-11-22T21:00:00Z")]
    first, second = settled(floor, [case(floor, each) for each in pins])
    assert isinstance(first, Envelope)
    assert second is Code.JOB_BYTES_DIFFER


@pytest.mark.parametrize("place", [0, 1])
def test_a_completion_is_not_refused_for_the_receipt_of_its_twin(floor: Floor, place: int) -> None:
    """The same statement, once with a wrong receipt beside it."""
    device = Device()
    pin, receipt = floor.pinned(device)
    done = floor.completion(device, pin, receipt)
    beside = [receipt, receipt]
    beside[place] = pin
    errands = [CompletionCase(floor.factory.signatory, done, pin, each) for each in beside]
    answers = settled(floor, errands)
    assert isinstance(answers[1 - place], Envelope)
    assert answers[place] in {answers[1 - place], Code.STATEMENT_INVALID}
    assert floor.factory.status().signatures["completion"] == 1


def test_challenges_and_statements_share_a_group(floor: Floor) -> None:
    asked = [floor.challenge_request(Device()) for _ in range(3)]
    errands = [case(floor), *(ChallengeErrand(floor.factory.signatory, each) for each in asked), case(floor)]
    answers = settled(floor, errands)
    assert len({each for each in answers if isinstance(each, bytes) and len(each) == 32}) == 3
    assert sum(isinstance(each, Envelope) for each in answers) == 2


def test_a_challenge_for_an_unknown_order_harms_none(floor: Floor) -> None:
    unknown = msgspec.structs.replace(floor.challenge_request(Device()), order_id="order-9")
    answers = settled(floor, [ChallengeErrand(floor.factory.signatory, unknown), case(floor)])
    assert answers[0] is Code.ORDER_UNKNOWN
    assert isinstance(answers[1], Envelope)


def test_a_token_error_is_its_callers_alone_and_loses_nothing(floor: Floor, parties: Parties) -> None:
    pins = [floor.pin(Device()) for _ in range(3)]
    real, calls = parties.factory_token.sign_ecdsa, iter([True, False, True])

    def second_fails(label: str, digest: bytes) -> bytes:
        if not next(calls, True):
            raise TokenError("the token refused")
        return real(label, digest)

    parties.factory_token.sign_ecdsa = second_fails  # type: ignore[method-assign]
    first, second, third = settled(floor, [case(floor, each) for each in pins])
    assert isinstance(first, Envelope)
    assert isinstance(third, Envelope)
    assert second is Code.TOKEN_UNAVAILABLE
    assert used(floor) == 3
    again = settled(floor, [case(floor, each) for each in pins])
    assert (again[0], again[2]) == (first, third)
    assert isinstance(again[1], Envelope)
    assert (used(floor), floor.factory.status().resigned) == (3, 1)


def test_a_token_that_is_away_is_waited_for_once_a_group(floor: Floor, parties: Parties) -> None:
    pins = [floor.pin(Device()) for _ in range(4)]
    twin = case(floor, pins[3])
    parties.factory_token.fail_next = [TokenUnavailableError("away")]
    answers = settled(floor, [*(case(floor, each) for each in pins), twin])
    assert answers == [Code.TOKEN_UNAVAILABLE] * 5
    assert parties.factory_token.signed["pin"] == 0, "the others were not tried"
    assert all(isinstance(each, Envelope) for each in settled(floor, [case(floor, each) for each in pins]))
    assert used(floor) == 4


def test_a_slow_tokens_signatures_are_answered_as_they_come(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "_SIGNING_S", 0.0)
    parts = [part for part in settle(floor.factory.signatory.counters, [case(floor) for _ in range(4)]) if part]
    assert len(parts) > 1
    assert sum(len(part) for part in parts) == 4


class Failing:
    """A connection whose nth statement of a kind fails as a disk or a full volume does."""

    def __init__(self, real: sqlite3.Connection, statement: str, nth: int, code: int) -> None:
        self._real, self._statement, self._left, self._code = real, statement, nth, code

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        if sql.startswith(self._statement):
            self._left -= 1
            if self._left == 0:
                error = sqlite3.OperationalError("planted")
                error.sqlite_errorcode = self._code
                raise error
        return self._real.execute(sql, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def plant(floor: Floor, statement: str, nth: int, code: int) -> None:
    counters = floor.factory.signatory.counters
    counters._connection = Failing(counters._connection, statement, nth, code)  # type: ignore[assignment]


FULL = sqlite3.SQLITE_FULL


@pytest.mark.parametrize(("statement", "nth"), [("BEGIN", 1), ("INSERT INTO statements", 2), ("COMMIT", 1)])
def test_a_reservation_that_cannot_be_written_leaves_nothing(
    floor: Floor, parties: Parties, statement: str, nth: int
) -> None:
    pins = [floor.pin(Device()) for _ in range(3)]
    before = rows(floor)
    plant(floor, statement, nth, FULL)
    assert settled(floor, [case(floor, each) for each in pins]) == [Code.STORE_FAILED] * 3
    assert (used(floor), parties.factory_token.signed["pin"], rows(floor)) == (0, 0, before)
    assert all(isinstance(each, Envelope) for each in settled(floor, [case(floor, each) for each in pins]))
    assert (used(floor), floor.factory.status().resigned) == (3, 0)


@pytest.mark.parametrize(("statement", "nth"), [("BEGIN", 2), ("UPDATE statements SET envelope", 2), ("COMMIT", 2)])
def test_signatures_that_cannot_be_stored_do_not_leave(
    floor: Floor, parties: Parties, statement: str, nth: int
) -> None:
    pins = [floor.pin(Device()) for _ in range(3)]
    plant(floor, statement, nth, FULL)
    assert settled(floor, [case(floor, each) for each in pins]) == [Code.STORE_FAILED] * 3
    assert (used(floor), parties.factory_token.signed["pin"]) == (3, 3)
    answers = settled(floor, [case(floor, each) for each in pins])
    assert all(isinstance(each, Envelope) for each in answers)
    status = floor.factory.status()
    assert (used(floor), status.signatures["pin"], status.resigned) == (3, 3, 3)
    assert parties.factory_token.signed["pin"] == status.signatures["pin"] + status.resigned


@pytest.mark.parametrize("nth", [1, 2])
def test_a_disk_that_fails_in_a_commit_stops_everything_by_name(floor: Floor, parties: Parties, nth: int) -> None:
    pins = [floor.pin(Device()) for _ in range(3)]
    plant(floor, "COMMIT", nth, sqlite3.SQLITE_IOERR_FSYNC)
    assert settled(floor, [case(floor, each) for each in pins]) == [Code.STORE_FAILED] * 3
    signed = parties.factory_token.signed["pin"]
    for errand in (case(floor, pins[0]), ChallengeErrand(floor.factory.signatory, floor.challenge_request(Device()))):
        ((_, answer),) = (each for part in settle(floor.factory.signatory.counters, [errand]) for each in part)
        assert "signs nothing more" in str(answer)
    assert parties.factory_token.signed["pin"] == signed


def test_a_disk_error_inside_a_group_is_not_taken_for_one_requests_own(floor: Floor) -> None:
    errands = [case(floor) for _ in range(3)]
    plant(floor, "INSERT INTO statements", 2, sqlite3.SQLITE_IOERR_WRITE)
    assert settled(floor, errands) == [Code.STORE_FAILED] * 3
    with pytest.raises(SignerError, match="signs nothing more"):
        floor.factory.status()


def test_the_token_made_what_the_counters_say(floor: Floor, parties: Parties) -> None:
    """A storm: groups with twins, refusals, lost answers of the token; then the accounts must balance."""
    token = parties.factory_token
    real, count = token.sign_ecdsa, iter(range(10_000))

    def sometimes_lost(label: str, digest: bytes) -> bytes:
        made = real(label, digest)
        if next(count) % 3 == 1:
            raise TokenError("the answer was lost")
        return made

    token.sign_ecdsa = sometimes_lost  # type: ignore[method-assign]
    pins = [floor.pin(Device()) for _ in range(12)]
    wrong = list(misfits(floor).values())
    answers: dict[str, set[bytes]] = {}
    for number in range(40):
        chosen = [pins[(number * 5 + step) % len(pins)] for step in range(4)] + [wrong[number % len(wrong)]]
        errands = [case(floor, each) for each in chosen]
        for errand, answer in zip(errands, settled(floor, errands), strict=True):
            if isinstance(answer, Envelope):
                answers.setdefault(errand.key, set()).add(answer.to_json())
    assert len(answers) == len(pins)
    assert all(len(each) == 1 for each in answers.values()), "one statement, two signatures"
    status = floor.factory.status()
    assert status.signatures["pin"] == used(floor) == len(pins)
    assert token.signed["pin"] == status.signatures["pin"] + status.resigned
    assert status.resigned > 0
