"""The verbs of each role, as one object: what `hsm.server` puts on its socket and tests call in process.

Each method is one purpose and one module; no method takes bytes to sign. Blocking; one thread at a time.
"""

from __future__ import annotations

from hsm import checkpoints, client_assertion, orders, policy_completion, policy_pin, policy_receipt, possession
from hsm.signatory import Signatory, refusals
from hsm.signer import ChallengeRequest, CheckpointRequest, SignerStatus
from trust.dsse import Envelope
from trust.statement import Completion, PinStatement, Receipt


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
            orders.import_order(self.signatory, order)

    def challenge(self, request: ChallengeRequest) -> bytes:
        """A fresh one-use challenge."""
        with refusals():
            return possession.give_challenge(self.signatory, request)

    def sign_pin(self, statement: PinStatement) -> Envelope:
        """The pin statement, signed."""
        with refusals():
            return policy_pin.sign_pin(self.signatory, statement)

    def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        """The completion, signed."""
        with refusals():
            return policy_completion.sign_completion(self.signatory, completion, pin, receipt)

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
        with refusals():
            return policy_receipt.sign_receipt(self.signatory, receipt)
