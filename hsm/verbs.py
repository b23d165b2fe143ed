"""From a request to a policy's verb and back: the closed list of what each role can be asked.

Whatever is not in the role's list does not exist for its socket. Never decides anything about a statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

import msgspec

from hsm.messages import (
    Answer,
    AssertionBody,
    CompletionBody,
    Nothing,
    OrderBody,
    PinBody,
    ReceiptBody,
    Request,
    accepted,
    refused,
)
from hsm.policy import CloudPolicy, FactoryPolicy
from hsm.signer import ChallengeRequest, CheckpointRequest, SignerError
from trust.codes import Code

P = TypeVar("P", FactoryPolicy, CloudPolicy)


@dataclass(frozen=True, slots=True)
class _Verb(Generic[P]):
    """The body that a verb takes, and the call it makes."""

    body: Any
    call: Callable[[P, Any], object]


_FACTORY: Final[Mapping[str, _Verb[FactoryPolicy]]] = MappingProxyType(
    {
        "status": _Verb(Nothing, lambda policy, _: policy.status()),
        "import_order": _Verb(OrderBody, lambda policy, body: policy.import_order(body.order)),
        "challenge": _Verb(ChallengeRequest, lambda policy, body: policy.challenge(body)),
        "sign_pin": _Verb(PinBody, lambda policy, body: policy.sign_pin(body.statement)),
        "sign_completion": _Verb(
            CompletionBody, lambda policy, body: policy.sign_completion(body.completion, body.pin, body.receipt)
        ),
        "sign_checkpoint": _Verb(CheckpointRequest, lambda policy, body: policy.sign_checkpoint(body)),
        "client_assertion": _Verb(AssertionBody, lambda policy, body: policy.client_assertion(body.audience)),
    }
)
_CLOUD: Final[Mapping[str, _Verb[CloudPolicy]]] = MappingProxyType(
    {
        "status": _Verb(Nothing, lambda policy, _: policy.status()),
        "sign_receipt": _Verb(ReceiptBody, lambda policy, body: policy.sign_receipt(body.receipt)),
    }
)


def answer(policy: FactoryPolicy | CloudPolicy, request: Request) -> Answer:
    """Ask the policy; every refusal becomes an answer."""
    if isinstance(policy, FactoryPolicy):
        return _ask(policy, _FACTORY.get(request.verb), request)
    return _ask(policy, _CLOUD.get(request.verb), request)


def _ask(policy: P, verb: _Verb[P] | None, request: Request) -> Answer:
    if verb is None:
        text = f"this signer has no verb {request.verb[:40]!r} in its role"
        return refused(request.id, Code.NOT_AUTHORISED, text)
    try:
        body = msgspec.json.decode(request.body, type=verb.body)
        return accepted(request.id, verb.call(policy, body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return refused(request.id, Code.MALFORMED, f"{request.verb}: {error}")
    except SignerError as error:
        return refused(request.id, error.code, str(error))
