"""Threads beside the loop: what they hand back, what is dropped, and how a process ends while they work."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hsm.client import ReceiptClient
from registry.device_service import running
from registry.device_service.field.udp_talk import Opening
from registry.device_service.udp.session import Session
from registry.device_service.work import beside, threads
from registry.settings import Home, SetupError
from tests.registry.running import make_plant


def slept(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def test_what_is_under_way_at_the_end_is_waited_for_and_the_rest_dropped() -> None:
    told: list[str] = []

    async def story() -> None:
        async with threads(1, "a", "b") as (one, other):
            for work in (one, other):
                beside(work, partial(slept, 0.3), lambda done: told.append(done.result()))
            waits = beside(one, partial(slept, 9), lambda done: told.append(f"cancelled: {done.cancelled()}"))
        await asyncio.sleep(0)
        assert waits.cancelled()

    asyncio.run(story())
    assert sorted(told) == ["cancelled: True", "slept", "slept"]


def played_to_a_closed_loop(hand: object, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is logged when a thread is through after its loop."""
    works: list[ThreadPoolExecutor] = []

    async def story() -> None:
        async with threads(1, "a", ends_s=0.1) as (work,):
            works.append(work)
            hand(work, partial(slept, 0.5), lambda _: None)  # type: ignore[operator]

    began = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - began < 0.4, "nobody waits for ever"
    works[0].shutdown()
    return [each.message for each in caplog.records if each.levelname == "ERROR"]


def test_a_thread_that_outlasts_its_loop_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert played_to_a_closed_loop(beside, caplog) == []


def test_control_a_plain_callback_leaves_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def plain(work: Executor, act: partial[str], then: object) -> None:
        loop = asyncio.get_running_loop()
        work.submit(act).add_done_callback(lambda done: loop.call_soon_threadsafe(then, done))  # type: ignore[arg-type]

    assert len(played_to_a_closed_loop(plain, caplog)) == 1


def worked_for(many: int, *, dropped: bool) -> tuple[int, float]:
    """For how many of so many handshakes a thread worked, and after how many seconds it had time for an honest one."""
    worked, served = [], []

    def begin() -> Session:
        worked.append(None)
        time.sleep(0.02)
        raise RuntimeError("planted")

    def opening(work: Executor, failed: object = print) -> Opening:
        return Opening(begin, work, send=print, through=print, failed=failed)  # type: ignore[arg-type]

    async def story() -> None:
        async with threads(1, "field") as (work,):
            for _ in range(many):
                each = opening(work, lambda _: None)
                each.feed(b"hello")
                if dropped:
                    each.drop()
            over, began = asyncio.Event(), time.monotonic()
            opening(work, lambda _: (served.append(time.monotonic() - began), over.set())).feed(b"hello")
            await over.wait()

    asyncio.run(story())
    return len(worked) - 1, served[0]


def test_nobody_works_for_a_handshake_that_was_dropped(caplog: pytest.LogCaptureFixture) -> None:
    worked, seconds = worked_for(50, dropped=True)
    assert worked <= 1 and seconds < 0.5


def test_control_those_that_are_not_dropped_are_worked_for(caplog: pytest.LogCaptureFixture) -> None:
    worked, seconds = worked_for(50, dropped=False)
    assert worked == 50 and seconds > 1


def test_lines_to_the_signer_are_closed_however_it_ends(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, lines = make_plant(short_dir), dict[int, bool]()

    class Counted(ReceiptClient):
        def __init__(self, path: Path, **words: float) -> None:
            super().__init__(path, **words)
            lines[id(self)] = False

        def close(self) -> None:
            super().close()
            lines[id(self)] = True

    monkeypatch.setattr(running, "ReceiptClient", Counted)
    with pytest.raises(SetupError, match="cloud signer"):
        running.run(Home.load(plant.directory), plant.root_file, print)
    assert list(lines.values()) == [True, True]
