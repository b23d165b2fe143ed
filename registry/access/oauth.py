"""The token endpoint's language: its form, its answers and its refusals (RFC 6749 §3.2, §5). Knows no kind of grant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import parse_qsl

import msgspec

from registry.access.denied import Headers
from registry.access.guard import Heading
from trust.codes import Code

PATH = "/oauth/token"
CONTENT_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 32
OAuthCode = Literal[
    "invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client",
    "unsupported_grant_type", "invalid_dpop_proof", "use_dpop_nonce", "mfa_required", "slow_down",
]  # fmt: skip


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A fresh access token (RFC 6749 §5.1)."""

    access_token: str
    token_type: Literal["DPoP"] = "DPoP"  # noqa: S105 - how it is to be shown
    expires_in: int
    scope: str


class OAuthRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """No token (RFC 6749 §5.2); `code` says more than `error` may."""

    error: OAuthCode
    error_description: str
    code: Code


class OAuthError(Exception):
    """No token. RFC 6749 §5.2 forbids quotes and other characters than ASCII in the text; `refusal` leaves them out.

    `status` is 400 but for what that clause, or Particle's clients, want otherwise.
    """

    def __init__(self, error: OAuthCode, code: Code, message: str, headers: Headers = (), *, status: int = 400) -> None:
        super().__init__(message)
        self.error: OAuthCode = error
        self.code = code
        self.headers = headers
        self.status = status

    @property
    def refusal(self) -> OAuthRefusal:
        """The answer's body."""
        allowed = "".join(each if " " <= each <= "~" and each not in '"\\' else "'" for each in str(self))
        return OAuthRefusal(error=self.error, error_description=allowed, code=self.code)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a grant gives."""

    answer: msgspec.Struct
    headers: Headers = ()


Form = Mapping[str, str]
Grant = Callable[[Form, Heading], Granted]
"""One kind of grant; raises OAuthError."""
SignedBy = Callable[[Form], str]
"""Who signed what a form carries, by the trust root alone; empty if nobody did. Consumes nothing, asks no database."""


def read_form(content_type: str, body: bytes) -> Form:
    """The form's fields, each once (RFC 6749 §3.2); OAuthError. What nobody knows is left alone, as it asks."""
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise _malformed(f"send a form: content-type {CONTENT_TYPE}")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict",
                          max_num_fields=_MOST_FIELDS)  # fmt: skip
    except ValueError as error:
        raise _malformed("the body is not a form") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _malformed("a parameter is there twice")
    return MappingProxyType(form)


def needed(form: Form, name: str) -> str:
    """A parameter that must be there; OAuthError."""
    if not form.get(name):
        raise _malformed(f"parameter {name} is missing")
    return form[name]


def grant_of(grants: Mapping[str, Grant], form: Form) -> Grant:
    """The grant that the form asks for; OAuthError."""
    wanted = needed(form, "grant_type")
    if wanted not in grants:
        known = ", ".join(sorted(grants))
        raise OAuthError("unsupported_grant_type", Code.MALFORMED, f"this registry knows {known} only")
    return grants[wanted]


def _malformed(text: str) -> OAuthError:
    return OAuthError("invalid_request", Code.MALFORMED, text)
