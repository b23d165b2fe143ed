"""A key that a device got after its first one, where it is what stands against a statement of another device.

A station believes a refusal by what it is shown, and the first pin statement does not show such a key. Pure; takes only
what the readers' function has proved.
"""

from __future__ import annotations

from registry.pins.checks import CheckedPin
from registry.pins.closing import CheckedCompletion
from registry.pins.reading import Reading
from registry.pins.record import Entry
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.repin import Repin, nonces_in


def standing_against(checked: CheckedPin | CheckedCompletion, holder: Reading) -> Entry | None:
    """The holder's later key that shares key, modulus or r with the statement, and its receipt; None if none does."""
    for deed, row in zip(holder.deeds, holder.rows.acts, strict=True):
        if deed.repin is not None and _shares(checked, deed.repin):
            return Entry(
                statement=Envelope.from_json(row["repin"]), registered_at=deed.at,
                receipt=Envelope.from_json(holder.rows.receipts[deed.statement_sha256]),
            )  # fmt: skip
    return None


def _shares(checked: CheckedPin | CheckedCompletion, repin: Repin) -> bool:
    if not checked.nonces.isdisjoint(nonces_in(repin)):
        return True
    if isinstance(checked, CheckedCompletion):
        return False
    modulus = checked.key.modulus
    same = checked.key.fingerprint == repin.fingerprint
    return same or (modulus is not None and PublicKey.from_der(repin.spki).modulus == modulus)
