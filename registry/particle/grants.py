"""How Particle's clients get a token: password, then one-time code; or an API token shown as a client's secret.

A token of this door is an API token of the user that carries `keys:propose` and nothing else: it stands in a file of
whoever runs those tools. Who signs in gets one for twelve hours at the most; who brings one as a client's secret has
made it before, and has it for as long as it was made for. The client ids and secrets in those tools are the same for
everybody, so they are not looked at. Counting tries is `registry.people`'s, as for every sign-in.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from sqlalchemy import Connection

from registry.access.caller import Scope
from registry.access.denied import DeniedError, Headers
from registry.access.guard import Heading
from registry.access.oauth import Form, Grant, Granted, OAuthError, OAuthRefusal, needed
from registry.errors import RefusedError
from registry.particle.second_factor import SecondFactor, Shown
from registry.people.service import People
from registry.people.sessions import Presented
from registry.people.store import State
from registry.people.tokens import SESSION, Issued, hashed
from trust.codes import Code
from trust.statement import moment

PASSWORD: Final = "password"  # noqa: S105 - the grant's name
MFA_OTP: Final = "urn:custom:mfa-otp"
CLIENT: Final = "client_credentials"
LONGEST: Final = SESSION
_NAME: Final = "particle"
_SCOPES: Final = frozenset({Scope.KEYS_PROPOSE})
_BAD, _NOBODY, _MFA, _TOO_MANY = 400, 401, 403, 429


class BearerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A token of this door (RFC 6750 §4)."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - how it is to be shown
    expires_in: int
    scope: str


class DoorTokenRefusal(OAuthRefusal, frozen=True, kw_only=True):
    """No token; `mfa_token` comes with `mfa_required` alone."""

    mfa_token: str | msgspec.UnsetType = msgspec.UNSET


class MfaRequiredError(OAuthError):
    """The password holds: now the code, with this token. Particle's clients look for its very words."""

    def __init__(self, mfa_token: str) -> None:
        text = "now the one-time code of your authenticator"
        super().__init__("mfa_required", Code.SECOND_FACTOR_NEEDED, text, status=_MFA)
        self.mfa_token = mfa_token

    @property
    def refusal(self) -> DoorTokenRefusal:
        """The answer's body."""
        said = super().refusal
        return DoorTokenRefusal(
            error=said.error, error_description=said.error_description, code=said.code, mfa_token=self.mfa_token
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParticleGrants:
    """The grants of this door. `stations` is the one that shares its name with ours."""

    people: People
    second: SecondFactor
    stations: Grant
    now: Callable[[], datetime]

    def table(self) -> Mapping[str, Grant]:
        """By `grant_type`."""
        return {PASSWORD: self.password, MFA_OTP: self.code, CLIENT: self.client}

    def password(self, form: Form, heading: Heading) -> Granted:
        """Never a token: MfaRequiredError when the password holds, as everybody has a second factor; OAuthError."""
        user_id = needed(form, "username").strip().lower()
        shown = Presented(user_id=user_id, password=needed(form, "password"), code="", address=heading.address)
        try:
            self.people.sessions.check_password(shown)
        except DeniedError as error:
            raise _not_signed_in(error) from error
        raise MfaRequiredError(self.second.sealed(Shown(user_id, self._number(user_id))))

    def code(self, form: Form, heading: Heading) -> Granted:
        """A token for the one-time code, if the password was shown a moment ago; OAuthError."""
        shown = self.second.opened(needed(form, "mfa_token"))
        if shown is None or self._number(shown.user_id) != shown.number:
            raise OAuthError("invalid_grant", Code.SIGN_IN_REFUSED, "mfa_token is none, or over: sign in again")
        lasts = self._lifetime(form)
        presented = Presented(
            user_id=shown.user_id, password="", code=needed(form, "otp").strip(), address=heading.address
        )

        def open_token(connection: Connection, state: State) -> Issued:
            return self.people.tokens.issue_in(connection, state, _NAME, _SCOPES, lasts)

        try:
            return self._granted(self.people.sessions.open_by_code(presented, open_token).session)
        except DeniedError as error:
            raise _not_signed_in(error) from error
        except RefusedError as error:
            raise OAuthError("unauthorized_client", error.code, str(error)) from error

    def client(self, form: Form, heading: Heading) -> Granted:
        """Of a station its own grant; else the API token that was shown as secret, if it can do nothing but propose."""
        if "client_assertion" in form or "client_assertion_type" in form:
            return self.stations(form, heading)
        client_id, secret, challenges = _client(form, heading)
        caller = self.people.tokens.caller(secret)
        if caller is None or caller.user_id != client_id or Scope.KEYS_PROPOSE not in (caller.scopes or ()):
            raise _no_client("", challenges)
        found = [each for each in self.people.tokens.of_user(client_id) if each.token_sha256 == hashed(secret)]
        if not found:
            raise OAuthError("invalid_client", Code.CLIENT_UNKNOWN, "this API token was withdrawn")
        if set(found[0].scopes) != _SCOPES:  # what it was made with, whatever of that its role still gives
            raise _no_client(" and no other: a file of those tools is no place for more", challenges)
        return self._granted(Issued(token=secret, user_id=client_id, role=caller.role, expires_at=found[0].expires_at))

    def _number(self, user_id: str) -> int:
        return self.people.accounts.history(user_id)[-1].number

    def _lifetime(self, form: Form) -> timedelta:
        """What is asked, at most `LONGEST`; 0 is their word for ever."""
        asked = form.get("expires_in", "0")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 10):  # noqa: PLR2004 - digits of 300 years
            raise OAuthError("invalid_request", Code.MALFORMED, "expires_in is a number of seconds")
        return min(LONGEST, timedelta(seconds=int(asked))) if int(asked) else LONGEST

    def _granted(self, issued: Issued) -> Granted:
        left = int((moment(issued.expires_at) - self.now()).total_seconds())
        return Granted(BearerAnswer(access_token=issued.token, expires_in=left, scope=" ".join(sorted(_SCOPES))))


def _no_client(more: str, challenges: Headers) -> OAuthError:
    text = "client_id is a user's id, client_secret an API token of that user with scope keys:propose"
    status = _NOBODY if challenges else _BAD
    return OAuthError("invalid_client", Code.CLIENT_UNKNOWN, f"{text}{more}", challenges, status=status)


def _client(form: Form, heading: Heading) -> tuple[str, str, Headers]:
    """Id, secret, and the challenge to answer with; in the header or in the form, never in both (RFC 6749 §2.3)."""
    basic = [each.partition(" ")[2] for each in heading.authorization if each.lower().startswith("basic ")]
    if not basic:
        return needed(form, "client_id"), needed(form, "client_secret"), ()
    if len(basic) > 1 or "client_secret" in form:
        raise OAuthError("invalid_request", Code.MALFORMED, "client_secret in header and form: send one of them")
    try:
        client_id, colon, secret = base64.b64decode(basic[0], validate=True).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise OAuthError("invalid_request", Code.MALFORMED, "Authorization: Basic cannot be read") from error
    if not colon or not client_id or not secret:
        raise OAuthError("invalid_request", Code.MALFORMED, "Authorization: Basic takes client_id:client_secret")
    return client_id, secret, (("www-authenticate", 'Basic realm="registry"'),)


def _not_signed_in(error: DeniedError) -> OAuthError:
    if error.status == _TOO_MANY:
        waits = tuple(each for each in error.headers if each[0] == "retry-after")
        return OAuthError("slow_down", error.code, str(error), waits, status=_TOO_MANY)
    return OAuthError("invalid_grant", error.code, str(error))
