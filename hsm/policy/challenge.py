"""Challenges that devices sign: 32 random bytes, durable, good for 90 days, for one order, job, device and statement.

Never judges what was signed over one: that is `hsm.policy.possession` and `trust.closing`.
"""

from __future__ import annotations

import secrets
from typing import Literal

from hsm.records import Binding
from hsm.signatory import Signatory
from hsm.signer import ChallengeRequest, SignerError
from trust.codes import Code
from trust.identity import DeviceId, IdentityError, JobId
from trust.proof import CHALLENGE_BYTES
from trust.statement import Completion, PinStatement

_VALID_S = 90 * 24 * 3600  # as long as a durable intent may wait for its signature (docs/decisions/0008)
_CLOCK_BACK_S = 300  # a clock set back a little after the challenge was given does no harm


class ChallengeErrand:
    """A fresh challenge for an imported order, as a `hsm.group_commit.Errand`; every request gets its own."""

    def __init__(self, signatory: Signatory, request: ChallengeRequest) -> None:
        try:
            JobId.parse(request.job)
            DeviceId.parse(request.device_id)
        except IdentityError as error:
            raise SignerError(Code.MALFORMED, str(error)) from error
        self._signatory = signatory
        self._request = request
        self._challenge = secrets.token_bytes(CHALLENGE_BYTES)

    @property
    def key(self) -> str:
        """Never equal for two requests."""
        return self._challenge.hex()

    def prepare(self) -> None:
        """Nothing: who asks is judged when the challenge comes back in a proof."""

    def reserve(self) -> bytes:
        """Remember it; ORDER_UNKNOWN when the order was not imported."""
        asked, now = self._request, int(self._signatory.now())
        self._signatory.orders.find(asked.order_id)
        binding = Binding(
            purpose=asked.purpose, order_id=asked.order_id, job=asked.job.lower(), device_id=asked.device_id.lower()
        )
        self._signatory.counters.add_challenge(self._challenge, binding, now=now, forget_before=now - _VALID_S)
        return self._challenge

    def sign(self) -> None:
        """Nothing is signed."""

    def store(self) -> None:
        """Nothing is left to keep."""


def use_challenge(
    signatory: Signatory,
    challenge: bytes,
    purpose: Literal["pin", "report"],
    statement: PinStatement | Completion,
    used_by: str,
) -> None:
    """Spend the challenge on this statement, inside the transaction that reserves it; CHALLENGE_UNKNOWN otherwise."""
    binding = Binding(purpose=purpose, order_id=statement.order_id, job=statement.job, device_id=statement.device_id)
    now = int(signatory.now())
    if not signatory.counters.use_challenge(
        challenge, binding, used_by=used_by, issued=(now - _VALID_S, now + _CLOCK_BACK_S)
    ):
        text = (
            f"this {purpose} challenge was not given for this order, job and device, is older than 90 days, or was used"
        )
        raise SignerError(
            Code.CHALLENGE_UNKNOWN, f"{text}: this job cannot be finished with these bytes; call the engineer"
        )
