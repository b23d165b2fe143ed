"""Re-key authorisations, in the cloud role: the authority's word to one locked device for one step of an approved act.

Composes the bytes itself from act, step and the device's nonce, after it has verified the approvals itself. Never knows
whether a step is due, as in *the new key is pinned*: that is for the registry, before it asks.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hsm.documents import sign_payload
from hsm.purposes import Purpose
from hsm.signatory import Signatory
from hsm.signer import AuthorisationRequest, SignerError
from trust import pin_act, rekey
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.keys import PublicKey
from trust.statement import moment

_KIND = "rekey-authorisation"


def sign_authorisation(signatory: Signatory, request: AuthorisationRequest) -> Envelope:
    """The authorisation, signed: the same request gives the same bytes; nothing once the act is over."""
    _require_authority(signatory)
    now = datetime.fromtimestamp(signatory.now(), UTC)
    try:
        act = pin_act.allowed(request.act, signatory.trusted, _judged_at(request, now))
        made = rekey.authorisation(
            request.act,
            act,
            request.step,
            nonce=bytes.fromhex(request.nonce),
            new_fingerprint=request.new_fingerprint,
        )
    except ActRefusedError as error:
        raise SignerError(error.code, str(error)) from error
    except rekey.RekeyError as error:
        raise SignerError(Code.STATEMENT_INVALID, str(error)) from error
    return sign_payload(signatory, Purpose.AUTHORITY, _KIND, rekey.PAYLOAD_TYPE, made.encode())


def _judged_at(request: AuthorisationRequest, now: datetime) -> datetime:
    """When the act is looked at: now; its time is over once the old key's end is, which may be later (ACT_EXPIRED)."""
    act = pin_act.body(request.act)
    begins, ends = rekey.window(act, request.step)
    if request.step is rekey.Step.END_OLD_KEY and now < begins:
        text = f"the old key is good until {act.ends_at or act.made_at}: it is ended then"
        raise SignerError(Code.ACT_EXPIRED, text)
    return min(now, moment(act.not_after)) if now <= ends else now


def _require_authority(signatory: Signatory) -> None:
    """Devices that the root lets be made listen to this signer's authority key; NOT_AUTHORISED."""
    named = {PublicKey.from_der(spki).fingerprint for spki in signatory.trusted.root.cloud_keys.authority}
    if signatory.keys.fingerprint(Purpose.AUTHORITY) not in named:
        text = "the trust root does not name this signer's authority key"
        raise SignerError(Code.NOT_AUTHORISED, f"{text}: have a root made that names it, or use the signer whose it is")
