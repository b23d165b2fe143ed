"""From a request to what must be done for it and back: the closed list of what each role can be asked.

Whatever is not in the role's list does not exist for its socket. Never decides anything about a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from hsm import (
    accounts,
    acts,
    authorisations,
    checkpoints,
    client_assertion,
    handshakes,
    leases,
    reports,
    revocations,
    rosters,
)
from hsm.group_commit import Errand
from hsm.messages import (
    AssertionBody,
    CompletionBody,
    DtlsSignBody,
    EnvelopeBody,
    FrameError,
    LeaseBody,
    Nothing,
    OrderBody,
    PinBody,
    ReceiptBody,
    ReceiptsBody,
    ReportBody,
    Request,
    ReturnBody,
    RevocationBody,
    RosterBody,
    TcpOpenBody,
    TcpSignBody,
    decoded,
)
from hsm.policy.case import Case
from hsm.policy.challenge import ChallengeErrand
from hsm.policy.completion import CompletionCase
from hsm.policy.order import import_order
from hsm.policy.pin import PinCase
from hsm.policy.receipt import ReceiptCase
from hsm.signatory import Signatory
from hsm.signer import AuthorisationRequest, ChallengeRequest, SignerError
from trust.codes import Code
from trust.signed_note import Head


@dataclass(frozen=True, slots=True)
class _Joins:
    """A verb whose requests are settled together; the errand for one body."""

    body: Any
    errand: Callable[[Signatory, Any], Errand]


@dataclass(frozen=True, slots=True)
class _JoinsMany:
    """A verb of many requests in one body, which are settled together; the errands for one body."""

    body: Any
    errands: Callable[[Signatory, Any], tuple[Errand, ...]]


@dataclass(frozen=True, slots=True)
class _Alone:
    """A verb whose requests are few: each has memory and token for itself."""

    body: Any
    call: Callable[[Signatory, Any], object]


_Verb = _Joins | _JoinsMany | _Alone
STATUS: Final = "status"
_FACTORY: Final[Mapping[str, _Verb]] = MappingProxyType(
    {
        STATUS: _Alone(Nothing, lambda signatory, _: accounts.status(signatory)),
        "import_order": _Alone(OrderBody, lambda signatory, body: import_order(signatory, body.order)),
        "challenge": _Joins(ChallengeRequest, ChallengeErrand),
        "sign_pin": _Joins(PinBody, lambda signatory, body: PinCase(signatory, body.statement)),
        "sign_completion": _Joins(
            CompletionBody,
            lambda signatory, body: CompletionCase(signatory, body.completion, body.pin, body.receipt),
        ),
        # One head follows from the last: two that wait together would be refused for each other's sake.
        "sign_checkpoint": _Alone(Head, checkpoints.sign_checkpoint),
        "client_assertion": _Alone(
            AssertionBody, lambda signatory, body: client_assertion.client_assertion(signatory, body.audience)
        ),
        "lease_request": _Alone(Nothing, lambda signatory, _: leases.lease_request(signatory)),
        "import_lease": _Alone(EnvelopeBody, lambda signatory, body: leases.import_lease(signatory, body.envelope)),
        "import_revocation": _Alone(
            EnvelopeBody, lambda signatory, body: revocations.import_revocation(signatory, body.envelope)
        ),
        "return_allotment": _Alone(
            ReturnBody, lambda signatory, body: accounts.return_allotment(signatory, body.order_id)
        ),
        "perform_act": _Alone(EnvelopeBody, lambda signatory, body: acts.perform(signatory, body.envelope)),
        "balance": _Alone(Nothing, lambda signatory, _: accounts.balance(signatory)),
    }
)
_CLOUD: Final[Mapping[str, _Verb]] = MappingProxyType(
    {
        STATUS: _Alone(Nothing, lambda signatory, _: accounts.status(signatory)),
        "sign_receipt": _Joins(ReceiptBody, lambda signatory, body: ReceiptCase(signatory, body.receipt)),
        "sign_receipts": _JoinsMany(
            ReceiptsBody, lambda signatory, body: tuple(ReceiptCase(signatory, each) for each in body.receipts)
        ),
        "sign_lease": _Alone(LeaseBody, lambda signatory, body: leases.sign_lease(signatory, body.lease)),
        "sign_revocation": _Alone(
            RevocationBody, lambda signatory, body: revocations.sign_revocation(signatory, body.revocation, body.act)
        ),
        "sign_authorisation": _Alone(AuthorisationRequest, authorisations.sign_authorisation),
        "sign_roster": _Alone(RosterBody, lambda signatory, body: rosters.sign_roster(signatory, body.roster)),
        "tcp_open": _Alone(TcpOpenBody, handshakes.tcp_open),
        "tcp_sign": _Alone(TcpSignBody, handshakes.tcp_sign),
        "dtls_sign": _Alone(DtlsSignBody, handshakes.dtls_sign),
        "sign_handshake": _Alone(ReportBody, lambda signatory, body: reports.sign_handshake(signatory, body.report)),
    }
)


def errand_or_call(signatory: Signatory, request: Request) -> Errand | tuple[Errand, ...] | Callable[[], object]:
    """An errand or several, judged as far as that goes without memory, or a call; SignerError for no such verb."""
    verb = (_FACTORY if signatory.role == "factory" else _CLOUD).get(request.verb)
    if verb is None:
        raise SignerError(Code.NOT_AUTHORISED, f"this signer has no verb {request.verb[:40]!r} in its role")
    try:
        body = decoded(request.body, verb.body, request.verb)
    except FrameError as error:
        raise SignerError(error.code, str(error)) from error
    if isinstance(verb, _Alone):
        call = verb.call
        return lambda: call(signatory, body)
    if isinstance(verb, _JoinsMany):
        return tuple(_judged(each) for each in verb.errands(signatory, body))
    return _judged(verb.errand(signatory, body))


def _judged(errand: Errand) -> Errand:
    if isinstance(errand, Case):
        errand.judge_early()
    return errand
