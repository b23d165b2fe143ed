"""Receipts wanted at the same time are made together: signer and database commit once for many, which costs as for one.

Who finds nobody at work makes them for all that wait; meanwhile others gather. Nobody waits for company: alone, one is
made at once. Never gives one's receipt to another, and never makes again what failed: who asked is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry.errors import ReceiptUnavailableError
from trust.dsse import Envelope
from trust.statement import Receipt

_MOST = 48  # as many as one request to the signer holds
_WAIT_S = 20.0  # for others' turns and one's own: signer and database have told by then, whatever they tell
_LATER = "stored, but its receipt was not signed in time: send the same request again"
Make = Callable[[Sequence[Receipt]], Sequence[Envelope | Exception]]
"""Each receipt signed and kept, or why not, in their order."""


@dataclass(slots=True)
class _Wanted:
    """A receipt that somebody waits for, and what has come of it."""

    receipt: Receipt
    answer: Envelope | Exception | None = None


class Together:
    """Makes receipts for any number of threads, one turn at a time."""

    def __init__(self, make: Make, *, most: int = _MOST, wait_s: float = _WAIT_S) -> None:
        self._make = make
        self._most = most
        self._wait_s = wait_s
        self._changed = threading.Condition()
        self._waiting: list[_Wanted] = []
        self._at_work = False

    def receipt(self, wanted: Receipt) -> Envelope:
        """The receipt, signed and kept; raises what `make` gave or raised instead.

        ReceiptUnavailableError for one whose turn has not come, or was cut off.
        """
        mine = _Wanted(wanted)
        with self._changed:
            self._waiting.append(mine)
        end = time.monotonic() + self._wait_s
        while mine.answer is None:
            self._step(mine, end - time.monotonic())
        if isinstance(mine.answer, Envelope):
            return mine.answer
        raise mine.answer

    def _step(self, mine: _Wanted, wait_s: float) -> None:
        """Wait until this one is answered or nobody is at work; then make those that have waited longest."""
        with self._changed:
            if not self._changed.wait_for(lambda: mine.answer is not None or not self._at_work, wait_s):
                self._waiting = [each for each in self._waiting if each is not mine]
                mine.answer = ReceiptUnavailableError(_LATER)
            if mine.answer is not None:
                return
            self._at_work = True
            turn, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        error: Exception = ReceiptUnavailableError(_LATER)  # also if this thread is ended in the middle of it
        try:
            for each, answer in zip(turn, self._make([each.receipt for each in turn]), strict=True):
                each.answer = answer
        except Exception as raised:
            error = raised
            raise
        finally:
            with self._changed:
                for each in turn:
                    each.answer = each.answer or error
                self._at_work = False
                self._changed.notify_all()
