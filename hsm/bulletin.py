"""What `status` answers, also while the token does not: what was known last, and why there is nothing newer.

Never waits for a token that owes an answer, and never shows an old count as a new one: `trouble` stands beside it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging

from msgspec.structs import replace

from hsm import accounts
from hsm.counters.file import StoreError
from hsm.signatory import Signatory
from hsm.signer import SignerStatus
from hsm.token import TokenError
from hsm.worker import Worker

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.25


class Bulletin:
    """One signer's status."""

    def __init__(self, signatory: Signatory, worker: Worker) -> None:
        self._signatory = signatory
        self._worker = worker
        self._last: SignerStatus | None = None
        self._at = ""

    async def begin(self) -> None:
        """Know something before the first question, if token and memory allow."""
        try:
            await self.status()
        except (TokenError, StoreError) as error:
            _LOG.warning("the signer begins without a status: %s", error)

    async def status(self) -> SignerStatus:
        """The status now, or the last one with the token's trouble; TokenError or StoreError if there is none."""
        asked = asyncio.ensure_future(self._worker.call(lambda: accounts.status(self._signatory)))
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=_LOOK_S)
                trouble = self._signatory.token.trouble
                if not asked.done() and trouble and self._last is not None:
                    return replace(self._last, trouble=f"{trouble}; counts are of {self._at}")
            self._last, self._at = asked.result(), dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        finally:
            asked.cancel()
        return self._last
