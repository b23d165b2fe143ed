"""A person's session at the registry, for as long as one command runs. Never written down, never shown.

What was typed is sent once and forgotten; the session is ended before the command is. What outlives it is the token
that the registry gives this machine (`device`), which opens nothing: it gives tries of its own (docs/decisions/0027).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from station.cloud import CloudRefusedError, CloudUnreachableError
from station.cloud.access import Ask
from station.cloud.devices import Asks
from trust.codes import Code

REFUSES_PERSON: Final = frozenset({Code.SIGN_IN_REFUSED, Code.NOT_AUTHORISED, Code.SECOND_FACTOR_NEEDED})
"""Codes that say: not this person, or not by this. Nothing was done, and nothing is wrong with station or unit."""


class _Session(msgspec.Struct, frozen=True):
    token: str
    device: str = ""


class Person:
    """`station.cloud.access.Shows` for somebody who signs in; nobody before."""

    def __init__(self) -> None:
        self._token = ""
        self.device = ""
        """What the registry has given this machine for the next time."""

    async def headers(self, method: str, path: str, ask: Ask) -> dict[str, str]:  # noqa: ARG002 - a token says it all
        """The session, once there is one (RFC 6750 §2.1)."""
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def heard(self, nonce: str | None) -> None:
        """Sessions need no nonce."""

    def refused(self, code: Code) -> bool:  # noqa: ARG002 - whatever it was
        """Asking once more helps nobody."""
        return False

    async def close(self) -> None:
        """Forget the session."""
        self._token = ""

    @asynccontextmanager
    async def signed_in(
        self, registry: Asks, user_id: str, password: str, code: str, device: str = ""
    ) -> AsyncIterator[None]:
        """Signed in within the block, showing what was given last time. CloudRefusedError, CloudUnreachableError."""
        said = {"user_id": user_id, "password": password, "code": code, "device": device}
        answer = await registry.asked("POST", "/v1/sessions", msgspec.json.encode(said))
        try:
            session = msgspec.json.decode(answer, type=_Session)
            self._token, self.device = session.token, session.device
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CloudUnreachableError("sign-in: 200, but no answer of the registry") from error
        try:
            yield
        finally:
            with suppress(CloudRefusedError, CloudUnreachableError):  # it ends by itself, too
                await registry.asked("DELETE", "/v1/sessions/current")
            self._token = ""
