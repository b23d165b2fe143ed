"""The grant by which stations get access tokens: a client assertion, and a DPoP proof of the key to bind the token to.

Sources: RFC 6749 §4.4, RFC 7523 §2.2 and §3, RFC 10070, RFC 9449 §5. The proof is looked at first: who lacks a nonce is
given one without showing an assertion, and has his signer make one for a registry that answers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from registry.access.assertion import ASSERTION_TYPE, Client, ClientRefusedError, check_assertion
from registry.access.caller import STATION_SCOPES, Scope
from registry.access.dpop import DpopError, NonceWantedError
from registry.access.guard import Heading
from registry.access.oauth import Form, Granted, OAuthError, TokenAnswer, needed
from registry.access.tokens import LIFETIME_S, Tokens
from registry.clock import utc_now
from trust.codes import Code
from trust.root import Root

GRANT_TYPE = "client_credentials"


class ClientCredentials:
    """`registry.access.oauth.Grant` for the stations of a trust root."""

    def __init__(self, tokens: Tokens, root: Root, *, now: Callable[[], datetime] = utc_now) -> None:
        self._tokens = tokens
        self._root = root
        self._now = now

    def __call__(self, form: Form, heading: Heading) -> Granted:
        """A token for the station that made the assertion, bound to the proof's key; OAuthError."""
        scopes = _scopes(form)
        try:
            proof = self._tokens.proof(heading, None)
            client = self._client(form)
            token = self._tokens.issue(client, proof, scopes)
        except ClientRefusedError as error:
            raise OAuthError("invalid_client", error.code, str(error)) from error
        except NonceWantedError as error:
            nonce = (("dpop-nonce", self._tokens.nonce()),)
            raise OAuthError("use_dpop_nonce", Code.DPOP_NONCE, str(error), nonce) from error
        except DpopError as error:
            raise OAuthError("invalid_dpop_proof", Code.DPOP_INVALID, str(error)) from error
        answer = TokenAnswer(access_token=token, expires_in=LIFETIME_S, scope=" ".join(sorted(scopes)))
        return Granted(answer, self._tokens.next_nonce(proof))

    def signed_by(self, form: Form) -> str:
        """The station whose signer made the form's assertion, empty if it does not hold; consumes nothing."""
        try:
            return self._client(form).station
        except (ClientRefusedError, OAuthError):
            return ""

    def _client(self, form: Form) -> Client:
        if needed(form, "client_assertion_type") != ASSERTION_TYPE:
            text = f"client_assertion_type must be {ASSERTION_TYPE}"
            raise ClientRefusedError(Code.ASSERTION_INVALID, text)
        client = check_assertion(needed(form, "client_assertion"), self._root, int(self._now().timestamp()))
        if form.get("client_id", client.station) != client.station:
            raise ClientRefusedError(Code.ASSERTION_INVALID, "client_id is not who made the client assertion")
        return client


def _scopes(form: Form) -> frozenset[Scope]:
    """What the form asks for: all that stations may have, unless it names less (RFC 6749 §3.3)."""
    if "scope" not in form:
        return STATION_SCOPES
    asked = form["scope"].split(" ")
    if not set(asked) <= {each.value for each in STATION_SCOPES}:
        known = " ".join(sorted(STATION_SCOPES))
        raise OAuthError("invalid_scope", Code.SCOPE_MISSING, f"of scopes, stations can have {known}")
    return frozenset(Scope(each) for each in asked)
