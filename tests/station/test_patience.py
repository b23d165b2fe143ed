"""A signer that is waited for: told within two seconds, once for all slots, and no longer than patience lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hsm.signer import SignerError, SignerUnavailableError
from station.events import AnyEvent, SignerAwaited, SignerBack
from station.faults import fault
from station.line import StopSwitch
from station.patience import PatientSigner
from trust.codes import Code

Answer = Callable[[], Awaitable[str]]


class Moody:
    """A signer whose client assertions come from a list of answers; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def client_assertion(self, audience: str) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer()


async def good() -> str:
    return "good"


async def away() -> str:
    raise SignerUnavailableError("it is not running")


async def refuses() -> str:
    raise SignerError(Code.TOKEN_PIN_WRONG, "refused")


def slow(seconds: float) -> Answer:
    async def answer() -> str:
        await asyncio.sleep(seconds)
        return "good"

    return answer


def ask(
    moody: Moody, patience_s: float = 5.0, stop: StopSwitch | None = None, slots: int = 1
) -> tuple[Any, list[AnyEvent], float]:
    said: list[AnyEvent] = []
    signer: Any = moody
    patient = PatientSigner(signer=signer, emit=said.append, patience_s=patience_s, stop=stop or StopSwitch())

    async def main() -> Any:
        asked = (patient.client_assertion("x") for _ in range(slots))
        return await asyncio.gather(*asked, return_exceptions=True)

    began = time.monotonic()
    found = asyncio.run(main())
    return found, said, time.monotonic() - began


def kinds(said: list[AnyEvent]) -> list[type[AnyEvent]]:
    return [type(each) for each in said]


def test_an_answer_in_time_says_nothing() -> None:
    assert ask(Moody(good))[:2] == (["good"], [])


def test_a_signer_that_is_away_is_told_at_once_and_asked_again() -> None:
    found, said, _ = ask(Moody(away, away, good), slots=1)
    assert (found, kinds(said)) == (["good"], [SignerAwaited, SignerBack])
    assert isinstance(said[0], SignerAwaited)
    assert said[0].detail == "it is not running"


def test_a_signer_that_is_slow_is_told_within_two_seconds() -> None:
    found, said, took = ask(Moody(slow(2.0)))
    assert (found, kinds(said)) == (["good"], [SignerAwaited, SignerBack])
    assert took < 10
    assert isinstance(said[1], SignerBack)
    assert 0.1 < said[1].seconds < 1.7, "told after 1.5 s of 2, and not at once"


def test_all_slots_wait_and_it_is_told_once() -> None:
    found, said, _ = ask(Moody(*[away] * 6, good), slots=4)
    assert (found, kinds(said)) == (["good"] * 4, [SignerAwaited, SignerBack])


def test_patience_ends() -> None:
    moody = Moody(away)
    found, said, took = ask(moody, patience_s=1.0, slots=3)
    assert {type(each) for each in found} == {SignerUnavailableError}
    assert took < 8
    assert SignerBack not in kinds(said)
    assert moody.asked <= 12


def test_a_line_that_has_stopped_waits_no_more() -> None:
    stop = StopSwitch()
    stop.set(fault("internal"))
    found, said, took = ask(Moody(away), stop=stop)
    assert (type(found[0]), said) == (SignerUnavailableError, [])
    assert took < 4, "it has not waited for its patience, 5 s"


@pytest.mark.parametrize("answer", [refuses])
def test_a_refusal_is_not_asked_for_again(answer: Answer) -> None:
    moody = Moody(answer)
    found, said, _ = ask(moody)
    assert (type(found[0]), said, moody.asked) == (SignerError, [], 1)
