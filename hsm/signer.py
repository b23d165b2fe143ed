"""What a signer can be asked: one verb a purpose, no "sign these bytes".

The protocols that station (factory role) and registry (cloud role) are written against. `hsm.client` reaches a signer
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from trust.account import OrderCount, Tier
from trust.codes import Code
from trust.dsse import Envelope
from trust.handshake import HandshakeReport
from trust.lease import Lease
from trust.rekey import Step
from trust.revocation import Revocation
from trust.roster import Roster
from trust.signed_note import Head
from trust.statement import Completion, Hex32, MaybeHex32, PinStatement, Receipt

NONCE_BYTES = 40
"""Of the TCP service, in front of what a device encrypts."""


class SignerError(Exception):
    """The signer answered no. `code` is stable, the text is for people."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class SignerUnavailableError(Exception):
    """No answer: the signer's process, socket or token is away. Whether it acted is unknown; asking again is safe."""


class SignerForbiddenError(SignerUnavailableError):
    """The user may not ask the signer; the text says who may. Asking again is of no use until that was changed."""


class ChallengeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A one-use challenge for one order, job, device and purpose."""

    purpose: Literal["pin", "report"]
    order_id: str
    job: str
    device_id: str


class AuthorisationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of an approved re-key act, for a device that has given this nonce.

    `new_fingerprint`: of the new key, in the steps that are about both keys.
    """

    act: Envelope
    step: Step
    nonce: Hex32
    new_fingerprint: MaybeHex32 = ""


class LogHead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A log's head: its size, and its root hash (32 bytes)."""

    size: int
    root_hash: bytes


class LeaseState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest lease: pin statements are made up to number `up_to`, until `expires_at` (RFC 3339)."""

    serial: int
    up_to: int
    expires_at: str


class SignerStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signer says of itself: keys (DER SubjectPublicKeyInfo) and distinct payloads signed, by purpose.

    `resigned` counts payloads signed once more, after a crash or when an answer was lost; `checkpoints` is the last
    head signed, or that will be before any other (a crash came in between), by log origin. `pins` made by this signer;
    `lease` None: there is none yet, or the root wants none (`tier`). `stopped`: why nothing is signed for devices.
    `token_profile`: by which profile the token's module is used, and whether that was tried.
    `protections` is what the signer's process has closed, by name, and whether it holds.
    `trouble`: why the token signs nothing now, empty if nothing is known; counts are those of before, then.
    """

    role: Literal["factory", "cloud"]
    name: str
    environment: str
    root_sha256: str
    token_label: str
    token_model: str
    token_profile: str = ""
    keys: dict[str, bytes]
    signatures: dict[str, int]
    resigned: int
    checkpoints: dict[str, LogHead] = {}
    root_version: int = 1
    tier: Tier = "none"
    pins: int = 0
    lease: LeaseState | None = None
    orders: tuple[OrderCount, ...] = ()
    stopped: str = ""
    protections: dict[str, bool] = {}
    trouble: str = ""


class Signer(Protocol):
    """The factory role, as the station uses it. Every verb raises SignerError or SignerUnavailableError only.

    All are safe to repeat. The same statement or checkpoint gives the same bytes and costs nothing; each challenge and
    each client assertion is a fresh one; an act that was done is refused the second time (ACT_USED).
    """

    async def status(self) -> SignerStatus:
        """Role, keys and counts."""

    async def import_order(self, order: Envelope) -> None:
        """Make an order known; the same bytes again are fine, other bytes under its id are ORDER_CONFLICT."""

    async def challenge(self, request: ChallengeRequest) -> bytes:
        """32 random bytes, remembered for this order, job, device and purpose; valid for 90 days."""

    async def sign_pin(self, statement: PinStatement) -> Envelope:
        """The pin statement, signed, if proof, order and count allow it."""

    async def sign_completion(self, completion: Completion, pin: Envelope, receipt: Envelope) -> Envelope:
        """The completion, signed, if pin statement, receipt, second proof and closing report hold."""

    async def sign_checkpoint(self, head: Head) -> str:
        """The checkpoint as a C2SP signed note; CHECKPOINT_CONFLICT unless it extends the last one signed."""

    async def client_assertion(self, audience: str) -> str:
        """A `private_key_jwt` client assertion (RFC 7523, RFC 10070) for the registry's issuer."""

    async def lease_request(self) -> Envelope:
        """What was signed since the last lease, for the registry; the same request until its lease is imported."""

    async def import_lease(self, lease: Envelope) -> None:
        """Take the registry's answer; LEASE_CONFLICT when it is none to this signer's open request."""

    async def import_revocation(self, revocation: Envelope) -> None:
        """Nothing more is signed for this device; a completed one frees a place in its order's quantity."""

    async def return_allotment(self, order_id: str) -> Envelope:
        """Zero what is unused of an order; the statement that says so."""

    async def perform_act(self, act: Envelope) -> None:
        """Do, once, what officers have approved; ACT_USED when it was done before, its answer lost or not."""

    async def balance(self) -> Envelope:
        """The signer's books as they are now."""


class ReceiptSigner(Protocol):
    """The cloud role, as the registry uses it (blocking: the registry's routes run in threads)."""

    def status(self) -> SignerStatus:
        """Role, keys and counts."""

    def sign_receipt(self, receipt: Receipt) -> Envelope:
        """The receipt, signed. The same receipt gives the same bytes."""

    def sign_receipts(self, receipts: Sequence[Receipt]) -> list[Envelope | SignerError]:
        """Each receipt signed as by `sign_receipt`, or why it is not: one that is refused harms none beside it."""

    def sign_lease(self, lease: Lease) -> Envelope:
        """The lease, signed. The same lease gives the same bytes; LEASE_CONFLICT for another of its number."""

    def sign_revocation(self, revocation: Revocation, act: Envelope) -> Envelope:
        """The revocation that the act wants, signed. ACT_NOT_APPROVED, ACT_EXPIRED."""

    def sign_authorisation(self, request: AuthorisationRequest) -> Envelope:
        """The authority's word for this step to this device. ACT_NOT_APPROVED, ACT_EXPIRED."""

    def sign_roster(self, roster: Roster) -> Envelope:
        """The roster, signed. The same one gives the same bytes; ROSTER_CONFLICT unless it is newer than the last."""


class HandshakeKeys(Protocol):
    """The cloud role, as the device service uses it (blocking: handshakes run in threads).

    Each raises SignerError or SignerUnavailableError; a device that is not answered begins anew.
    """

    def tcp_open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """What follows the nonce of 40 bytes in a device's 256; HANDSHAKE_REFUSED for everything else, alike."""

    def tcp_sign(self, mac: bytes) -> bytes:
        """The service's 256-byte signature over an HMAC-SHA1 of 20 bytes."""

    def dtls_sign(self, digest: bytes) -> bytes:
        """The service's ECDSA signature in DER over 32 bytes of SHA-256."""

    def sign_handshake(self, report: HandshakeReport) -> Envelope:
        """The report, signed. The same one gives the same bytes."""
