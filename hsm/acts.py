"""Do what two officers together want this signer to do: once, over exactly these bytes, before it expires.

What needs a signer that does not serve is `hsm.key_acts`: never done here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from hsm.signatory import Signatory
from hsm.signer import SignerError
from trust import act as acts
from trust.act import Act, ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope


def perform(signatory: Signatory, envelope: Envelope) -> None:
    """Do it; ACT_USED when it was done before, and nothing is done then."""
    now = signatory.now()
    try:
        act = acts.allowed(envelope, signatory.trusted, signer=signatory.name, now=datetime.fromtimestamp(now, UTC))
    except ActRefusedError as error:
        raise SignerError(error.code, str(error)) from error
    counters = signatory.counters
    with counters.transaction():
        if not counters.documents.add_act(envelope.payload_sha256, act.kind, envelope.to_json(), int(now)):
            raise SignerError(Code.ACT_USED, "this act was done before: have another one made and approved")
        _do(signatory, act, envelope.payload_sha256)


def _do(signatory: Signatory, act: Act, payload_sha256: str) -> None:
    counters = signatory.counters
    match act.kind:
        case "raise-allowance":
            if signatory.orders.find(act.order_id).sha256 != act.order_sha256:
                raise SignerError(Code.ORDER_CONFLICT, f"order {act.order_id} is known with other bytes")
            if not counters.raise_limit(act.order_id, act.units):
                raise SignerError(Code.ORDER_EXHAUSTED, f"the rest of order {act.order_id} was returned: order anew")
        case "accept-surplus":  # the station holds it against its ledger; here it is used up, and its order known
            if signatory.orders.find(act.order_id).sha256 != act.order_sha256:
                raise SignerError(Code.ORDER_CONFLICT, f"order {act.order_id} is known with other bytes")
        case "lift-stop":
            if not counters.documents.lift_stop(act.stop, payload_sha256):
                raise SignerError(
                    Code.STATEMENT_INVALID, f"stop {act.stop} is not in force: station-signer status shows it"
                )
        case "replace-key" | "destroy-key":
            text = f"{act.kind} is done while the signer does not serve"
            raise SignerError(Code.NOT_AUTHORISED, f"{text}: stop it, then station-signer act perform")


def require_running(signatory: Signatory) -> None:
    """Refuse while a stop is in force; STOPPED."""
    stop = signatory.counters.documents.stop()
    if stop is not None:
        text = f"stop {stop.number}: {stop.reason}"
        raise SignerError(Code.STOPPED, f"{text}; two officers lift it (station-signer act new --help)")
