"""Take note of devices that the registry has scrapped: nothing more is signed for them, and their place is free again.

A place in the order's quantity only: pin statements stay counted, so that scrap is paid from the allowance.
"""

from __future__ import annotations

from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import revocation as revocations
from trust.codes import Code
from trust.dsse import Envelope
from trust.statement import StatementError, moment


def import_revocation(signatory: Signatory, envelope: Envelope) -> None:
    """Remember it; the same device again changes nothing. ORDER_UNKNOWN for another station's order."""
    try:
        said = revocations.revoked(signatory.trusted, envelope)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    counters = signatory.counters
    with counters.transaction():
        pinned = counters.pin_of_device(said.device_id)
        if counters.order(said.order_id) is None:
            raise SignerError(Code.ORDER_UNKNOWN, f"order {said.order_id!r} of the revocation is not known here")
        if pinned is not None and (pinned.order_id, pinned.fingerprint) != (said.order_id, said.fingerprint):
            text = f"device {said.device_id} was signed for under order {pinned.order_id} with another key or order"
            raise SignerError(Code.STATEMENT_INVALID, f"{text} than the revocation names: ask the registry")
        signatory.see_time(moment(said.revoked_at), "the revocation")
        counters.scrap(said.device_id, said.order_id, envelope.to_json())
