"""A signer that is waited for: its silence is told within two seconds, and borne as long as the line's patience lasts.

Every verb of a signer is safe to repeat; only `perform_act` is asked once, as it is refused the second time. Never
repeats what was refused, never decides what a silence means for a unit: that is the fault `signer-down`, when patience
has ended or another slot's has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hsm.signer import ChallengeRequest, Signer, SignerStatus, SignerUnavailableError
from station.events import AnyEvent, SignerAwaited, SignerBack
from station.line import Clock, StopSwitch
from trust.dsse import Envelope
from trust.signed_note import Head
from trust.statement import Completion, PinStatement

T = TypeVar("T")
_TELL_AFTER_S = 1.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0


@dataclass(slots=True, kw_only=True)
class PatientSigner:
    """A `hsm.signer.Signer` over another one, shared by all slots of a line: what all wait for is told once."""

    signer: Signer
    emit: Callable[[AnyEvent], None]
    patience_s: float
    stop: StopSwitch
    clock: Clock = field(default_factory=Clock)
    _waiting: int = 0
    _told_at: float | None = None

    async def status(self) -> SignerStatus:
        """Role, keys and counts."""
        return await self._insist(self.signer.status)

    async def import_order(self, order: Envelope) -> None:
        """Make an order known."""
        await self._insist(lambda: self.signer.import_order(order))

    async def challenge(self, request: ChallengeRequest) -> bytes:
        """A fresh one-use challenge."""
        return await self._insist(lambda: self.signer.challenge(request))

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        """The pin statement, signed."""
        return await self._insist(lambda: self.signer.sign_pin(statement))

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        """The completion, signed."""
        return await self._insist(lambda: self.signer.sign_completion(completion, pin, receipt))

    async def sign_checkpoint(self, head: Head) -> str:
        """The log's new head as a signed note."""
        return await self._insist(lambda: self.signer.sign_checkpoint(head))

    async def client_assertion(self, audience: str) -> str:
        """A client assertion for the registry."""
        return await self._insist(lambda: self.signer.client_assertion(audience))

    async def lease_request(self) -> Envelope:
        """What was signed since the last lease."""
        return await self._insist(self.signer.lease_request)

    async def import_lease(self, lease: Envelope) -> None:
        """Take the registry's answer."""
        await self._insist(lambda: self.signer.import_lease(lease))

    async def import_revocation(self, revocation: Envelope) -> None:
        """Nothing more is signed for this device."""
        await self._insist(lambda: self.signer.import_revocation(revocation))

    async def return_allotment(self, order_id: str) -> Envelope:
        """Zero what is unused of an order."""
        return await self._insist(lambda: self.signer.return_allotment(order_id))

    async def perform_act(self, act: Envelope) -> None:
        """Do what officers have approved. Asked once only: a second time it is refused as done."""
        await self.signer.perform_act(act)

    async def balance(self) -> Envelope:
        """The signer's books."""
        return await self._insist(self.signer.balance)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, asked for again while there is none; SignerUnavailableError when patience ends."""
        until, pause = self.clock.monotonic() + self.patience_s, _FIRST_PAUSE_S
        async with self._watch() as silent:
            while True:
                try:
                    return await ask()
                except SignerUnavailableError as error:
                    if self.stop.cause is not None or self.clock.monotonic() + pause > until:
                        self._told_at = None  # the line stop that follows says the rest
                        raise
                    silent(str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    @contextlib.asynccontextmanager
    async def _watch(self) -> AsyncIterator[Callable[[str], None]]:
        """Tells a silence that lasts, and its end when nobody waits in it any more. The function tells it at once."""
        loop, counted = asyncio.get_running_loop(), False

        def silent(why: str) -> None:
            nonlocal counted
            if not counted:
                counted = True
                self._waiting += 1
            self._tell(why)

        timer = loop.call_later(_TELL_AFTER_S, silent, "")
        try:
            yield silent
        finally:
            timer.cancel()
            if counted:
                self._waiting -= 1
                self._tell_end()

    def _tell(self, why: str) -> None:
        if self._told_at is not None or self.stop.cause is not None:
            return
        self._told_at = self.clock.monotonic()
        self.emit(
            SignerAwaited(
                at=self.clock.utc(),
                sentence="Waiting for the signer: it does not answer.",
                remedy=f"The line goes on by itself when it does, and stops {self.patience_s:g} s after it was asked. "
                "See what it says: station-signer status --dir DIR",
                detail=why,
            )
        )

    def _tell_end(self) -> None:
        if self._waiting or self._told_at is None:
            return
        seconds = self.clock.monotonic() - self._told_at
        self._told_at = None
        self.emit(SignerBack(at=self.clock.utc(), seconds=round(seconds, 3)))
