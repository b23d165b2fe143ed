"""The worker between event loop and memory: what waits together commits together, and trouble stays where it belongs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hsm import worker as under_test
from hsm.client import SignerClient
from hsm.counters import Counters
from hsm.policy.pin import PinCase
from hsm.signer import SignerUnavailableError
from hsm.token import TokenUnavailableError
from hsm.worker import Worker
from tests.hsm.floor import Device, Floor, make_order
from tests.hsm.local_signer import Parties
from tests.hsm.served import served
from trust.dsse import Envelope
from trust.statement import PinStatement


@pytest.fixture
def floor(parties: Parties) -> Floor:
    return Floor(parties.trusted, make_order(parties.trusted, quantity=200), parties.factory, parties.cloud)


def with_worker(floor: Floor, work: Callable[[Worker], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        with ThreadPoolExecutor(1) as thread:
            return await work(Worker(floor.factory.signatory.counters, thread))

    return asyncio.run(main())


def cases(floor: Floor, pins: Sequence[PinStatement]) -> list[PinCase]:
    return [PinCase(floor.factory.signatory, pin) for pin in pins]


async def joined(worker: Worker, errands: Sequence[PinCase]) -> list[object]:
    return await asyncio.gather(*(worker.join(errand) for errand in errands), return_exceptions=True)


def test_what_waits_together_commits_together(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 statements while the thread is busy: one group, two commits; and 100 are more than one group takes at a time."""
    pins = [floor.pin(Device()) for _ in range(100)]
    commits: list[str] = []
    real = Counters.run
    monkeypatch.setattr(
        Counters,
        "run",
        lambda self, sql, *values: (sql == "COMMIT" and commits.append(sql)) or real(self, sql, *values),
    )

    async def work(worker: Worker) -> tuple[int, int]:
        counts = []
        for chosen in (pins[:40], pins):
            busy = threading.Event()
            held = asyncio.create_task(worker.call(lambda busy=busy: busy.wait(5)))
            await asyncio.sleep(0)
            asked = asyncio.create_task(joined(worker, cases(floor, chosen)))
            await asyncio.sleep(0.01)
            commits.clear()
            busy.set()
            assert all(isinstance(each, Envelope) for each in await asked)
            assert await held
            counts.append(len(commits))
        return counts[0], counts[1]

    few, many = with_worker(floor, work)
    assert few == 2
    # 64 and 36: the commit that stores the first reserves the others. 40 are known already and not signed again.
    assert many == 3


def test_a_bug_in_one_request_is_answered_to_its_caller_alone(floor: Floor, parties: Parties) -> None:
    class Faulty(PinCase):
        def claim(self) -> None:
            super().claim()
            raise ZeroDivisionError

    errands: list[PinCase] = cases(floor, [floor.pin(Device()) for _ in range(3)])
    faulty = floor.pin(Device())
    errands.insert(1, Faulty(floor.factory.signatory, faulty))
    answers = with_worker(floor, lambda worker: joined(worker, errands))
    assert isinstance(answers.pop(1), ZeroDivisionError)
    assert all(isinstance(each, Envelope) for each in answers)
    status = floor.factory.status()
    assert (status.signatures["pin"], status.resigned, parties.factory_token.signed["pin"]) == (3, 0, 3)
    assert isinstance(floor.factory.sign_pin(faulty), Envelope), "its challenge was not spent"


def test_a_bug_after_the_signature_is_its_callers_alone_too(floor: Floor, parties: Parties) -> None:
    class Faulty(PinCase):
        def store(self) -> Envelope:
            raise ZeroDivisionError

    errands: list[PinCase] = cases(floor, [floor.pin(Device()) for _ in range(2)])
    errands.append(Faulty(floor.factory.signatory, floor.pin(Device())))
    answers = with_worker(floor, lambda worker: joined(worker, errands))
    assert [type(each) for each in answers] == [Envelope, Envelope, ZeroDivisionError]
    status = floor.factory.status()
    assert parties.factory_token.signed["pin"] == status.signatures["pin"] + status.resigned


def test_a_caller_that_went_away_does_not_keep_the_others_from_their_answers(floor: Floor) -> None:
    async def work(worker: Worker) -> tuple[object, object]:
        busy = threading.Event()
        held = asyncio.create_task(worker.call(lambda: busy.wait(5)))
        gone, stays = (asyncio.create_task(worker.join(errand)) for errand in cases(floor, pins))
        await asyncio.sleep(0.01)
        gone.cancel()
        busy.set()
        await held
        return await stays, await worker.join(*cases(floor, pins[:1]))

    pins = [floor.pin(Device()) for _ in range(2)]
    answers = with_worker(floor, work)
    assert all(isinstance(each, Envelope) for each in answers)
    assert floor.factory.status().resigned == 0, "it was settled all the same"


def test_a_token_that_hangs_is_told_in_time(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PATIENCE_S", 0.1)
    pin = floor.pin(Device())
    token, real = floor.factory.signatory.token, floor.factory.signatory.token.sign_ecdsa

    def hanging(label: str, digest: bytes) -> bytes:
        time.sleep(0.4)
        return real(label, digest)

    token.sign_ecdsa = hanging  # type: ignore[method-assign]

    async def work(worker: Worker) -> tuple[list[object], object]:
        late = await joined(worker, cases(floor, [pin]))
        with pytest.raises(TokenUnavailableError, match="has not answered"):
            await worker.call(lambda: None)
        await asyncio.sleep(0.5)
        return late, (await joined(worker, cases(floor, [pin])))[0]

    (late,), answer = with_worker(floor, work)
    assert isinstance(late, TokenUnavailableError)
    assert isinstance(answer, Envelope), "what came too late was stored all the same"
    assert floor.factory.status().resigned == 0


def test_a_station_hears_that_the_token_hangs(floor: Floor, short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_PATIENCE_S", 0.1)
    pin = floor.pin(Device())
    monkeypatch.setattr(type(floor.factory.signatory.token), "sign_ecdsa", lambda *_: time.sleep(0.4) or b"")

    async def main() -> None:
        async with served(floor.factory, short_dir / "s.sock"):
            client = SignerClient(short_dir / "s.sock")
            with pytest.raises(SignerUnavailableError, match="token or disk"):
                await client.sign_pin(pin)
            await client.close()

    asyncio.run(main())


def test_the_first_statement_after_a_start_is_judged_where_its_order_is_read(floor: Floor) -> None:
    case = PinCase(floor.factory.signatory, floor.pin(Device()))
    floor.factory.signatory.orders._at_hand.clear()
    case.judge_early()
    assert not case._judged, "the loop reads no disk"
    (answer,) = with_worker(floor, lambda worker: joined(worker, [case]))
    assert isinstance(answer, Envelope)
    again = PinCase(floor.factory.signatory, floor.pin(Device()))
    again.judge_early()
    assert again._judged
