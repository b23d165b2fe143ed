"""Receipts wanted at the same time are made together: signer and database commit once for many, which costs as for one.

Who finds nobody at work makes them for all that wait; meanwhile others gather. Nobody waits for company: alone, one is
made at once. Never gives one's receipt to another, and never makes again what failed: who asked is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trust.dsse import Envelope
from trust.statement import Receipt

_MOST = 48  # as many as one request to the signer holds
Make = Callable[[Sequence[Receipt]], Sequence[Envelope | Exception]]
"""Each receipt signed and kept, or why not, in their order."""


@dataclass(slots=True)
class _Wanted:
    """A receipt that somebody waits for, and what has come of it."""

    receipt: Receipt
    answer: Envelope | Exception | None = None


class Together:
    """Makes receipts for any number of threads, one turn at a time."""

    def __init__(self, make: Make, *, most: int = _MOST) -> None:
        self._make = make
        self._most = most
        self._changed = threading.Condition()
        self._waiting: list[_Wanted] = []
        self._at_work = False

    def receipt(self, wanted: Receipt) -> Envelope:
        """The receipt, signed and kept; raises what `make` gave or raised instead."""
        mine = _Wanted(wanted)
        with self._changed:
            self._waiting.append(mine)
        while mine.answer is None:
            self._step(mine)
        if isinstance(mine.answer, Envelope):
            return mine.answer
        raise mine.answer

    def _step(self, mine: _Wanted) -> None:
        """Wait until this one is answered or nobody is at work; then make those that have waited longest."""
        with self._changed:
            self._changed.wait_for(lambda: mine.answer is not None or not self._at_work)
            if mine.answer is not None:
                return
            self._at_work = True
            turn, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            for each, answer in zip(turn, self._make([each.receipt for each in turn]), strict=True):
                each.answer = answer
        except Exception as error:
            for each in turn:
                each.answer = each.answer or error
            raise
        finally:
            with self._changed:
                self._at_work = False
                self._changed.notify_all()
