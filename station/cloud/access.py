"""The station's access token: asked for with an assertion that the signer makes, renewed before it is over.

Sources: RFC 6749 §4.4, RFC 7523 §2.2, RFC 9449 §5 and §8. The signer is asked only after the registry has answered: a
registry that is away costs no signature. Knows no HTTP client: who has one hands over how to ask.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from hsm.signer import SignerError, SignerUnavailableError
from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.dpop import DpopKey
from trust.codes import Code
from trust.printable import printable

PATH = "/oauth/token"
RETRIED = frozenset({Code.DPOP_NONCE, Code.DPOP_INVALID, Code.ACCESS_TOKEN_INVALID, Code.ASSERTION_USED})
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLY_S = 60.0  # renewed so long before it is over, while what was begun with it is still answered; half a short life
_TRIES = 3
_OK = 200
_MESSAGE = 500  # characters of foreign text that are shown
_REMEDIES = {
    Code.CLIENT_UNKNOWN: "the registry serves a trust root without this station: have it enrolled there, or give the "
    "registry the newest root",
    Code.ASSERTION_TIME: "set the clock of this machine, of the signer's and of the registry's: all from one source",
    Code.ASSERTION_INVALID: "signer, station and registry must have the same trust root (station check --config FILE)",
    Code.DPOP_INVALID: "set the clock of this machine and of the registry's",
}


class Asserts(Protocol):
    """The signer, as far as it is needed here."""

    async def client_assertion(self, audience: str) -> str:
        """A fresh assertion for this issuer; SignerError, SignerUnavailableError."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An HTTP answer as far as it matters here."""

    status: int
    body: bytes
    nonce: str | None
    after_s: float = 0.0  # how long not to ask again, where the answer says so (RFC 9110 §10.2.3)


Ask = Callable[[str, bytes, Mapping[str, str]], Awaitable[Heard]]
"""POST this form to this path with these headers; CloudUnreachableError."""


class Shows(Protocol):
    """What shows the registry who asks: a station's token with its proof, a person's session, or nothing."""

    async def headers(self, method: str, path: str, ask: Ask) -> dict[str, str]:
        """For this request; CloudUnreachableError, CloudRefusedError."""

    def heard(self, nonce: str | None) -> None:
        """The registry's newest nonce, if its answer brought one."""

    def refused(self, code: Code) -> bool:
        """Whether asking once more, with fresh headers, may help."""

    async def close(self) -> None:
        """Ask for nothing any more."""


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    access_token: str
    expires_in: Annotated[int, msgspec.Meta(gt=0)]


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: str
    code: Code
    error_description: str = ""


class Access:
    """One station's token and key, for one event loop. `issuer` is the registry's address by the trust root."""

    def __init__(self, issuer: str, signer: Asserts, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer.rstrip("/")
        self._audience = issuer
        self._signer = signer
        self._monotonic = monotonic
        self._key = DpopKey()
        self._asking: asyncio.Task[str] | None = None
        self._nonce: str | None = None
        self._token: str | None = None
        self._until = 0.0

    async def headers(self, method: str, path: str, ask: Ask) -> dict[str, str]:
        """What shows the registry who asks for this; CloudUnreachableError, CloudRefusedError without a token."""
        token = self._good() or await self._ask_once(ask)  # a fresh one is used, however short its life: once
        return {"authorization": f"DPoP {token}", "dpop": self._proof(method, path, token)}

    def heard(self, nonce: str | None) -> None:
        """The registry's newest nonce, if its answer brought one."""
        self._nonce = nonce or self._nonce

    def refused(self, code: Code) -> bool:
        """Whether asking once more, with fresh headers, may help where the registry does not know who asked."""
        if code is Code.ACCESS_TOKEN_INVALID:
            self._token = None
        return code in RETRIED

    async def close(self) -> None:
        """Ask for nothing any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    def _good(self) -> str | None:
        return self._token if self._monotonic() < self._until else None

    async def _ask_once(self, ask: Ask) -> str:
        """A fresh token, by one question for all that want one: what comes of it comes of all of them."""
        if self._asking is None:
            self._asking = asyncio.create_task(self._fresh(ask))
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)  # who gives up waiting takes it from nobody else

    def _asked(self, task: asyncio.Task[str]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # seen, though everybody may have given up waiting

    async def _fresh(self, ask: Ask) -> str:
        asked_at = self._monotonic()
        try:
            for _ in range(_TRIES):
                assertion = None if self._nonce is None else await self._assertion()
                answer = await ask(PATH, _form(assertion), {"dpop": self._proof("POST", PATH, None)})
                self.heard(answer.nonce)
                if answer.status == _OK:
                    token = _read(answer, _Token)
                    self._token = token.access_token
                    self._until = asked_at + token.expires_in - min(_EARLY_S, token.expires_in / 2)
                    return token.access_token
                refusal = _read(answer, _Refusal)
                if refusal.code not in RETRIED:
                    break
        except CloudUnreachableError:
            self._nonce = None  # so that the next try finds out first whether anybody answers
            raise
        raise _refused(refusal)

    async def _assertion(self) -> str:
        try:
            return await self._signer.client_assertion(self._audience)
        except (SignerError, SignerUnavailableError) as error:
            text = f"the registry was not asked, for want of an access token: {error}"
            raise CloudUnreachableError(text) from error

    def _proof(self, method: str, path: str, token: str | None) -> str:
        return self._key.proof(method, self._issuer + path, token=token, nonce=self._nonce)


def _form(assertion: str | None) -> bytes:
    fields = {"grant_type": "client_credentials", "client_assertion_type": _ASSERTION_TYPE}
    if assertion is not None:
        fields["client_assertion"] = assertion
    return urlencode(fields).encode()


T = TypeVar("T", _Token, _Refusal)


def _read(answer: Heard, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"POST {PATH}: {answer.status}, not an answer of the registry"
        raise CloudUnreachableError(text) from error


def _refused(refusal: _Refusal) -> CloudRefusedError:
    said = printable(refusal.error_description, _MESSAGE)
    remedy = _REMEDIES.get(refusal.code, "call the line engineer")
    return CloudRefusedError(refusal.code, f"no access token: {said}; {remedy}")
