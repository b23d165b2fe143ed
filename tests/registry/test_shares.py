"""One caller's share of a pool's threads: what the first, the next and the last of many have, at once and for good."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from registry.limits.shares import Shares


def wanted(shares: Shares, caller: str, many: int, held: ExitStack) -> int:
    """How many of so many requests are let in, all held."""
    return sum(held.enter_context(shares.of(caller)) for _ in range(many))


def test_one_caller_has_so_many_and_others_go_on() -> None:
    shares = Shares(128, most=64)
    with ExitStack() as held:
        assert wanted(shares, "a", 500, held) == 64
        assert wanted(shares, "b", 500, held) == 32
        assert wanted(shares, "c", 500, held) == 16
        assert wanted(shares, "d", 1, held) == 1, "and some stay free"
    with shares.of("a") as let_in:
        assert let_in, "what was given back is there again"


def test_those_who_want_many_come_to_the_same() -> None:
    """Whoever came first gives back, and gets no more than there is free: in the end each has what the others have."""
    shares = Shares(120, most=64)
    held: dict[str, list[ExitStack]] = {"a": [], "b": [], "c": []}
    for name, mine in held.items():
        ask_for(shares, name, 200, mine)
    assert [len(each) for each in held.values()] == [60, 30, 15]
    for _ in range(100):
        for name, mine in held.items():
            mine.pop(0).close()
            ask_for(shares, name, 2, mine)
    having = sorted(map(len, held.values()))
    assert having[0] >= 25 and sum(having) <= 120 - having[0]
    for each in (stack for mine in held.values() for stack in mine):
        each.close()


def ask_for(shares: Shares, name: str, many: int, mine: list[ExitStack]) -> None:
    for _ in range(many):
        stack = ExitStack()
        if stack.enter_context(shares.of(name)):
            mine.append(stack)


def test_a_refusal_takes_nothing_and_nobody_who_left_is_remembered() -> None:
    shares = Shares(2, most=1)
    with shares.of("a") as first, shares.of("a") as second:
        assert (first, second) == (True, False)
    with shares.of("a") as again:
        assert again
    assert not shares._at_work


def test_many_threads_at_once_never_have_more_than_there_are() -> None:
    shares, most, now, turn = Shares(10, most=6), [0], [0], threading.Lock()

    def ask(name: str) -> None:
        for _ in range(2_000):
            with shares.of(name) as let_in:
                if let_in:
                    with turn:
                        now[0] += 1
                        most[0] = max(most[0], now[0])
                    with turn:
                        now[0] -= 1

    threads = [threading.Thread(target=ask, args=(f"{number % 3}",)) for number in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 0 < most[0] <= 10 and now[0] == 0
    assert not shares._at_work
