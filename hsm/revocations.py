"""Revocations on both sides: a cloud signer signs what an approved act wants, a factory signer takes note of scrap.

Nothing more is signed for a device that was scrapped, and its place is free again: a place in the order's quantity
only, as pin statements stay counted, so that scrap is paid from the allowance. Never takes the registry's word for who
approved what.
"""

from __future__ import annotations

from hsm.documents import sign_document
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import pin_act
from trust import revocation as revocations
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.revocation import Revocation
from trust.statement import StatementError, moment


def import_revocation(signatory: Signatory, envelope: Envelope) -> None:
    """Remember it; the same device again changes nothing. ORDER_UNKNOWN for what has nothing to do with this signer.

    An id is burned whoever made it: a device that was signed for here under another job or order than it was pinned
    under (another station was faster) gets nothing signed either, and frees no place: it was no unit of this order.
    """
    try:
        said = revocations.revoked(signatory.trusted, envelope)
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    if said.cause != "scrapped":
        text = (
            f"device {said.device_id}: its key was revoked, which frees no place: only scrap is for a station's signer"
        )
        raise SignerError(Code.STATEMENT_INVALID, text)
    counters = signatory.counters
    with counters.transaction():
        own = counters.pin_of_device(said.device_id) or counters.completion_of_device(said.order_id, said.device_id)
        order_id = said.order_id if counters.order(said.order_id) is not None or own is None else own.order_id
        if counters.order(order_id) is None:
            raise SignerError(Code.ORDER_UNKNOWN, f"order {said.order_id!r} of the revocation is not known here")
        # By its job, not its key: a device may have got another one since, and this signer does not learn of that.
        pinned_as_signed = own is None or (own.order_id, own.job) == (said.order_id, said.job)
        signatory.see_time(moment(said.revoked_at), "the revocation")
        counters.scrap(said.device_id, order_id, envelope.to_json(), frees_place=pinned_as_signed)


def sign_revocation(signatory: Signatory, revocation: Revocation, act: Envelope) -> Envelope:
    """The revocation, signed, in the cloud role: only what enough people's own signatures over the act want."""
    signatory.require_here(revocation, "revocation")
    if revocation.registry != signatory.name:
        text = f"revocation of registry {revocation.registry!r}: this signer is {signatory.name!r}'s"
        raise SignerError(Code.NOT_AUTHORISED, text)
    if signatory.trusted.root.revocation_key is None:
        raise SignerError(Code.NOT_AUTHORISED, "the trust root names no revocation key")
    try:
        revoked_at = moment(revocation.revoked_at)
        wanted = pin_act.on_record(act, signatory.trusted, revoked_at)
        revocations.require_wanted(revocation, wanted, act.payload_sha256)
    except ActRefusedError as error:
        raise SignerError(error.code, str(error)) from error
    except StatementError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error

    def remember(_: str) -> None:
        for each in (revocation.root_sha256, wanted.root_sha256):  # people who have left revoke nothing any more
            if not signatory.trusted.is_recent(each):
                text = f"made under trust root {each[:16]}…, this signer has {signatory.trusted.sha256[:16]}…"
                raise SignerError(Code.WRONG_ROOT, f"revocation or act {text}: have the act made again")
        signatory.see_time(revoked_at, "the revocation")

    return sign_document(signatory, Purpose.REVOCATION, revocation, remember)
