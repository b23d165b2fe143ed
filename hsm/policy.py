"""The verbs of each role in one process, one request at a time: what tests and tools call without a socket.

Each method is one purpose and one module; no method takes bytes to sign. Blocking; one thread at a time.
`hsm.verbs` puts the same jobs on the socket, many at a time.
"""

from __future__ import annotations

from typing import TypeVar, cast

from hsm import checkpoints, client_assertion, policy_order
from hsm.batch import Job, settle
from hsm.case import Case
from hsm.counters import Counters, StoreError
from hsm.policy_completion import CompletionCase
from hsm.policy_pin import PinCase
from hsm.policy_receipt import ReceiptCase
from hsm.possession import ChallengeJob
from hsm.signatory import Signatory, refusal, refusals
from hsm.signer import ChallengeRequest, CheckpointRequest, SignerError, SignerStatus
from hsm.token import TokenError
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Receipt

S = TypeVar("S", PinStatement, Completion, Receipt)


class FactoryPolicy:
    """The factory role. Every verb raises SignerError only.

    All but `challenge` and `client_assertion` give the same bytes to the same request.
    """

    def __init__(self, signatory: Signatory) -> None:
        self.signatory = signatory

    def status(self) -> SignerStatus:
        """Role, keys and counts."""
        with refusals():
            return self.signatory.status()

    def import_order(self, order: Envelope) -> None:
        """Make an order known."""
        with refusals():
            policy_order.import_order(self.signatory, order)

    def challenge(self, request: ChallengeRequest) -> bytes:
        """A fresh one-use challenge."""
        return cast("bytes", _alone(self.signatory.counters, ChallengeJob(self.signatory, request)))

    def sign_pin(self, statement: PinStatement) -> Envelope:
        """The pin statement, signed."""
        return _signed(PinCase(self.signatory, statement))

    def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        """The completion, signed."""
        return _signed(CompletionCase(self.signatory, completion, pin, receipt))

    def sign_checkpoint(self, request: CheckpointRequest) -> str:
        """The log's new head as a signed note."""
        with refusals():
            return checkpoints.sign_checkpoint(self.signatory, request)

    def client_assertion(self, audience: str) -> str:
        """A client assertion for the registry."""
        with refusals():
            return client_assertion.client_assertion(self.signatory, audience)


class CloudPolicy:
    """The cloud role: a `hsm.signer.ReceiptSigner`."""

    def __init__(self, signatory: Signatory) -> None:
        self.signatory = signatory

    def status(self) -> SignerStatus:
        """Role, keys and counts."""
        with refusals():
            return self.signatory.status()

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        """The receipt, signed."""
        return _signed(ReceiptCase(self.signatory, receipt))


def _signed(case: Case[S]) -> Envelope:
    case.read_back()
    return cast("Envelope", _alone(case.signatory.counters, case))


def _alone(counters: Counters, job: Job) -> object:
    """A batch of one."""
    ((_, answer),) = (each for answered in settle(counters, [job]) for each in answered)
    if isinstance(answer, SignerError | TokenError | StoreError):
        raise refusal(answer) from answer
    return answer
