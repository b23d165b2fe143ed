"""May this receipt be signed? Only the registry asks; the signer holds it to its environment, root and name.

What the registry stores is the registry's own truth: its constraints decide, not this signer.
"""

from __future__ import annotations

from hsm.possession import device_of
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import Receipt


def sign_receipt(signatory: Signatory, receipt: Receipt) -> Envelope:
    """The receipt, signed; the same receipt gives the same bytes."""
    stored = signatory.stored(receipt)
    if stored is not None:
        return stored
    signatory.require_here(receipt, "receipt")
    device_of(receipt)
    if receipt.registry != signatory.name or receipt.registry != signatory.trusted.root.registry:
        text = f"receipt of registry {receipt.registry!r}: this signer is {signatory.name!r}'s, the root names"
        raise SignerError(Code.NOT_AUTHORISED, f"{text} {signatory.trusted.root.registry!r}")
    return signatory.issue(Purpose.RECEIPT, receipt, lambda _sha256: _claim(signatory, receipt))


def _claim(signatory: Signatory, receipt: Receipt) -> None:
    """A key has one device, also here: the registry's constraints say the same."""
    owner = signatory.counters.claim_key(receipt.fingerprint, receipt.device_id)
    if owner != receipt.device_id:
        text = (
            f"key {receipt.fingerprint[:16]}… was receipted for device {owner}: the registry's constraints have failed"
        )
        raise SignerError(Code.KEY_ON_OTHER_DEVICE, text)
