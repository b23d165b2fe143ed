"""Receipts wanted at the same time are signed in one request: a signer's commit is as dear for one as for many.

Who finds nobody at work signs for all that wait; meanwhile others gather. Nobody waits for company: alone, a receipt
goes at once. Never gives one's receipt to another, and never signs again what failed: who asked is told.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from hsm.signer import ReceiptSigner, SignerError, SignerUnavailableError
from trust.dsse import Envelope
from trust.statement import Receipt

_MOST = 48  # as many as one request to the signer holds


@dataclass(slots=True)
class _Wanted:
    """A receipt that somebody waits for, and what has come of it."""

    receipt: Receipt
    answer: Envelope | Exception | None = None


class Together:
    """Signs receipts through one signer, for any number of threads."""

    def __init__(self, signer: ReceiptSigner, *, most: int = _MOST) -> None:
        self._signer = signer
        self._most = most
        self._changed = threading.Condition()
        self._waiting: list[_Wanted] = []
        self._at_work = False

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        """The receipt, signed; raises SignerError or SignerUnavailableError as the signer's own verb does."""
        wanted = _Wanted(receipt)
        with self._changed:
            self._waiting.append(wanted)
        while wanted.answer is None:
            self._step(wanted)
        if isinstance(wanted.answer, Envelope):
            return wanted.answer
        raise wanted.answer

    def _step(self, wanted: _Wanted) -> None:
        """Wait until this one is answered or nobody is at work; then sign for those who have waited longest."""
        with self._changed:
            self._changed.wait_for(lambda: wanted.answer is not None or not self._at_work)
            if wanted.answer is not None:
                return
            self._at_work = True
            turn, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
        try:
            self._sign(turn)
        except Exception as error:
            for each in turn:
                each.answer = each.answer or error
            raise
        finally:
            with self._changed:
                self._at_work = False
                self._changed.notify_all()

    def _sign(self, turn: list[_Wanted]) -> None:
        try:
            if len(turn) == 1:
                turn[0].answer = self._signer.sign_receipt(turn[0].receipt)
                return
            answers = self._signer.sign_receipts([each.receipt for each in turn])
        except (SignerError, SignerUnavailableError) as error:
            for each in turn:
                each.answer = error
            return
        for each, answer in zip(turn, answers, strict=True):
            each.answer = answer
