"""How station and registry reach their signer's process: `SignerClient` and `ReceiptClient`.

Never decides and never signs. A lost connection, a time-out and a token that is away are all `SignerUnavailableError`:
whether the signer acted is unknown, and asking again is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from hsm.connection import Connection
from hsm.line import TIMEOUT_S, Line, away, unreadable
from hsm.messages import (
    MAX_RECEIPTS,
    Answer,
    AssertionBody,
    CompletionBody,
    DtlsSignBody,
    EnvelopeBody,
    FrameError,
    LeaseBody,
    Nothing,
    OneOfMany,
    OrderBody,
    PinBody,
    ReceiptBody,
    ReceiptsBody,
    Refusal,
    ReportBody,
    ReturnBody,
    RevocationBody,
    RosterBody,
    TcpOpenBody,
    TcpSignBody,
    refusal_of,
    result,
)
from hsm.signer import (
    AuthorisationRequest,
    ChallengeRequest,
    SignerError,
    SignerStatus,
    SignerUnavailableError,
)
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.lease import Lease
from trust.revocation import Revocation
from trust.roster import Roster
from trust.signed_note import Head
from trust.statement import Completion, PinStatement, Receipt

T = TypeVar("T")


class SignerClient:
    """A `hsm.signer.Signer` over the signer's socket, for one event loop. Connects when asked, and again when lost."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None

    async def status(self) -> SignerStatus:
        """Role, keys and counts."""
        return await self._call("status", Nothing(), SignerStatus)

    async def import_order(self, order: Envelope) -> None:
        """Make an order known."""
        await self._call("import_order", OrderBody(order), type(None))

    async def challenge(self, request: ChallengeRequest) -> bytes:
        """A fresh one-use challenge."""
        return await self._call("challenge", request, bytes)

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        """The pin statement, signed."""
        return await self._call("sign_pin", PinBody(statement), Envelope)

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        """The completion, signed."""
        return await self._call("sign_completion", CompletionBody(completion, pin, receipt), Envelope)

    async def sign_checkpoint(self, head: Head) -> str:
        """The log's new head as a signed note."""
        return await self._call("sign_checkpoint", head, str)

    async def client_assertion(self, audience: str) -> str:
        """A client assertion for the registry."""
        return await self._call("client_assertion", AssertionBody(audience), str)

    async def lease_request(self) -> Envelope:
        """What was signed since the last lease."""
        return await self._call("lease_request", Nothing(), Envelope)

    async def import_lease(self, lease: Envelope) -> None:
        """Take the registry's answer."""
        await self._call("import_lease", EnvelopeBody(lease), type(None))

    async def import_revocation(self, revocation: Envelope) -> None:
        """Nothing more is signed for this device."""
        await self._call("import_revocation", EnvelopeBody(revocation), type(None))

    async def return_allotment(self, order_id: str) -> Envelope:
        """Zero what is unused of an order."""
        return await self._call("return_allotment", ReturnBody(order_id), Envelope)

    async def perform_act(self, act: Envelope) -> None:
        """Do what officers have approved."""
        await self._call("perform_act", EnvelopeBody(act), type(None))

    async def balance(self) -> Envelope:
        """The signer's books."""
        return await self._call("balance", Nothing(), Envelope)

    async def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _call(self, verb: str, body: msgspec.Struct, kind: type[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return result(await self._ask(verb, body), kind)
        except TimeoutError as error:
            raise SignerUnavailableError(f"the signer has not answered {verb} for {self._timeout_s:g} s") from error
        except FrameError as error:
            raise unreadable(verb, error) from error
        except OSError as error:
            raise away(self._path, error) from error

    async def _ask(self, verb: str, body: msgspec.Struct) -> Answer:
        reused = self._connection is not None and self._connection.alive
        connection = await self._connected()
        try:
            return await connection.ask(verb, body)
        except ConnectionError:
            if not reused:
                raise
        # The signer was started again since the last call. Every verb may be repeated, so ask once more on a new line.
        return await (await self._connected()).ask(verb, body)

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or not self._connection.alive:
                reader, writer = await asyncio.open_unix_connection(self._path)
                self._connection = Connection(reader, writer)
            return self._connection


class ReceiptClient:
    """A `hsm.signer.ReceiptSigner` over the signer's socket: blocking, for any number of threads, one at a time."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._line = Line(path, timeout_s=timeout_s)

    def status(self) -> SignerStatus:
        """Role, keys and counts."""
        return self._line.call("status", Nothing(), SignerStatus)

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        """The receipt, signed."""
        return self._line.call("sign_receipt", ReceiptBody(receipt), Envelope)

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        """Each receipt signed, or why it is not, in as few requests as there are frames."""
        found: list[Envelope | SignerError] = []
        for first in range(0, len(receipts), MAX_RECEIPTS):
            body = ReceiptsBody(tuple(receipts[first : first + MAX_RECEIPTS]))
            answers = self._line.call("sign_receipts", body, list[OneOfMany])
            if len(answers) != len(body.receipts):
                raise SignerUnavailableError(f"{len(answers)} answers of the signer to {len(body.receipts)} receipts")
            found += [_one(each) for each in answers]
        return found

    def sign_lease(self, lease: Lease) -> Envelope:
        """The lease, signed."""
        return self._line.call("sign_lease", LeaseBody(lease), Envelope)

    def sign_revocation(self, revocation: Revocation, act: Envelope) -> Envelope:
        """The revocation that the act wants, signed."""
        return self._line.call("sign_revocation", RevocationBody(revocation, act), Envelope)

    def sign_authorisation(self, request: AuthorisationRequest) -> Envelope:
        """The authority's word for one step, signed."""
        return self._line.call("sign_authorisation", request, Envelope)

    def sign_roster(self, roster: Roster) -> Envelope:
        """The roster, signed."""
        return self._line.call("sign_roster", RosterBody(roster), Envelope)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._line.close()


class HandshakeClient:
    """A `hsm.signer.HandshakeKeys` over the signer's socket: blocking, for any number of threads, one at a time."""

    def __init__(self, path: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._line = Line(path, timeout_s=timeout_s)

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """What follows the nonce."""
        return self._line.call("tcp_open", TcpOpenBody(ciphertext, nonce), bytes)

    def tcp_sign(self, mac: bytes) -> bytes:
        """The MAC, signed."""
        return self._line.call("tcp_sign", TcpSignBody(mac), bytes)

    def dtls_sign(self, digest: bytes) -> bytes:
        """The digest, signed."""
        return self._line.call("dtls_sign", DtlsSignBody(digest), bytes)

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        """The report, signed."""
        return self._line.call("sign_handshake", ReportBody(report), Envelope)

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._line.close()


def _one(answer: OneOfMany) -> Envelope | SignerError:
    if isinstance(answer.error, Refusal):
        return refusal_of(answer.error)
    if isinstance(answer.ok, Envelope):
        return answer.ok
    raise SignerUnavailableError("an answer of the signer with neither result nor refusal")
