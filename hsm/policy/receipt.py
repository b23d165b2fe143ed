"""May this receipt be signed? Only the registry asks; the signer holds it to its environment, root and name.

What the registry stores is the registry's own truth: its constraints decide, not this signer.
"""

from __future__ import annotations

from hsm.policy.case import Case
from hsm.policy.possession import device_of
from hsm.purposes import Purpose
from hsm.signer import SignerError
from trust.codes import Code
from trust.statement import Receipt


class ReceiptCase(Case[Receipt]):
    """A receipt that the registry wants signed."""

    PURPOSE = Purpose.RECEIPT
    KIND = "receipt"

    def admit(self) -> None:
        """Whether it is for this signer."""
        receipt, signatory = self.statement, self.signatory
        signatory.require_here(receipt, "receipt")
        device_of(receipt)
        if receipt.registry != signatory.name or receipt.registry != signatory.trusted.root.registry:
            text = f"receipt of registry {receipt.registry!r}: this signer is {signatory.name!r}'s, the root names"
            raise SignerError(Code.NOT_AUTHORISED, f"{text} {signatory.trusted.root.registry!r}")

    def judge(self) -> None:
        """Nothing more: the registry has verified what it receipts."""

    def claim(self) -> None:
        """A key has one device, also here: the registry's constraints say the same."""
        receipt = self.statement
        owner = self.signatory.counters.claim_key(receipt.fingerprint, receipt.device_id)
        if owner != receipt.device_id:
            text = f"key {receipt.fingerprint[:16]}… was receipted for device {owner}"
            raise SignerError(Code.KEY_ON_OTHER_DEVICE, f"{text}: the registry's constraints have failed")
