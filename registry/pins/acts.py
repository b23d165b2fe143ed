"""Acts on pins: judge, insert, answer with what is proved now. What the registry promises about them is told here.

Two people's own signatures are what moves a pin: who is signed in only carries them. Constraints decide between two
acts at once; an act is done once. Never changes a row.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from hsm.signer import AuthorisationRequest, ReceiptSigner
from registry.clock import stamp, utc_now
from registry.database import Database
from registry.errors import RefusedError
from registry.orders import counts, papers
from registry.pins import acts_store
from registry.pins.acts_store import NewAct, NewKey
from registry.pins.new_key import require_shown
from registry.pins.reading import Reading
from registry.pins.receipts import Receipts
from registry.pins.settling import Settling
from registry.pins.steps import StepService
from trust import pin_act, pin_life
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey, PublicKeyError
from trust.order import WorkOrder
from trust.order_approval import body
from trust.pin_act import PinAct, PinActKind
from trust.pin_life import LifeError
from trust.proof import CHALLENGE_BYTES
from trust.repin import NEW, OLD, Repin, bound
from trust.revocation import CAUSES
from trust.root import TrustedRoot
from trust.statement import Possession, StatementError, envelope, moment

_CHALLENGE_LASTS = timedelta(hours=1)
_KEPT = timedelta(days=1)
_PAGE = 50
UseCode = Callable[[Connection], None]
"""Uses a one-time code up, inside a transaction."""
CodeOf = Callable[[frozenset[str]], UseCode]
"""Judges a code that was brought: of somebody who approves with one of these keys (fingerprints), or DeniedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What was brought to show a new key: the proofs' signatures, and the leave to make it where one is wanted."""

    challenge: bytes
    spki: bytes
    signatures: tuple[bytes, bytes]
    old_signatures: tuple[bytes, bytes] | None = None
    authorisation: Envelope | None = None


class ActService:
    """The registry's answer to acts on pins. Safe to call from many threads."""

    def __init__(
        self, database: Database, trusted: TrustedRoot, signer: ReceiptSigner, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._trusted = trusted
        self._now = now
        receipts = Receipts(database=database, trusted=trusted, signer=signer, now=now)
        self._steps = StepService(database, self.find, trusted, signer, now)
        self._settling = Settling(database=database, trusted=trusted, signer=signer, receipts=receipts, now=now)

    def find(self, device: DeviceId) -> Reading | None:
        """What is proved about the device now; None without a pin. UntrustedError, ReceiptUnavailableError."""
        return self._settling.read(device)

    def challenge(self, device: DeviceId) -> tuple[bytes, str]:
        """A challenge for a new key's proof, good once, and until when; RefusedError for a device without a pin."""
        self._known(device)
        now, challenge = self._now(), secrets.token_bytes(CHALLENGE_BYTES)
        expires_at = stamp(now + _CHALLENGE_LASTS)
        with self._database.write() as connection:
            acts_store.give_challenge(
                connection, challenge, str(device), expires_at=expires_at, over=stamp(now - _KEPT)
            )
        return challenge, expires_at

    def authorise(self, device: DeviceId, request: AuthorisationRequest) -> Envelope:
        """The authority's word for a step of a re-key that is due.

        Raises RefusedError, UntrustedError, or ReceiptUnavailableError while the signer is away.
        """
        return self._steps.authorise(device, request)

    def do(self, device: DeviceId, kind: PinActKind, approved: Envelope, code: CodeOf | None = None) -> Reading:
        """Revoke, scrap or un-scrap as the act wants; what is proved about the device then.

        `code`: of the one approver of an act that one is enough for; DeniedError as it says.

        Raises RefusedError, UntrustedError, or ReceiptUnavailableError when it is done and `find` must be asked.
        """
        at, act, before = self._begin(device, approved, kind)
        if pin_act.by_one(act):
            keys, given = frozenset(each.keyid for each in approved.signatures), code or _no_code
            self._insert(approved, act, before, at, use_code=lambda: given(keys))
        else:
            self._insert(approved, act, before, at)
        # A crash right here leaves an act without receipt and revocation; whoever asks next gets what is due.
        return self._known(device)

    def repin(self, device: DeviceId, approved: Envelope, shown: Shown) -> Reading:
        """Pin the device's new key as the act wants; raises as `do` does."""
        at, act, before = self._begin(device, approved, "repin", "rekey")
        repin = self._statement(device, approved, shown)
        self._require_challenge(device, shown.challenge)
        try:
            key = PublicKey.from_der(repin.spki)
            nonces = require_shown(
                repin, act, approved, shown.authorisation, old=_pinned(before), order=before.papers.order,
                trusted=self._trusted, at=moment(at),
            )  # fmt: skip
        except (StatementError, PublicKeyError) as error:
            raise RefusedError(Code.PROOF_INVALID, str(error)) from error
        new = NewKey(
            repin=envelope(repin), authorisation=shown.authorisation, fingerprint=key.fingerprint, modulus=key.modulus,
            challenge=shown.challenge, nonces=nonces,
        )  # fmt: skip
        self._insert(approved, act, before, at, new)
        # A crash right here leaves an act without its receipt; whoever asks next gets it.
        return self._known(device)

    def scrapped_under(self, order_sha256: str, after: str) -> tuple[WorkOrder, list[Envelope], str | None]:
        """The order, revocations of devices scrapped under it, so many after that place, and the next place if any.

        ORDER_UNKNOWN if nothing was ever pinned under it.
        """
        with self._database.read() as connection:
            paper = papers.first(connection, order_sha256)
            if paper is None:
                raise RefusedError(Code.ORDER_UNKNOWN, "nothing was pinned under such an order")
            order = body(Envelope.from_json(paper))
            found = acts_store.scrapped_under(connection, order.order_id, after, _PAGE + 1)
        page = [Envelope.from_json(envelope) for _, envelope in found[:_PAGE]]
        return order, page, found[_PAGE - 1][0] if len(found) > _PAGE else None

    def _begin(self, device: DeviceId, approved: Envelope, *kinds: PinActKind) -> tuple[str, PinAct, Reading]:
        """When it is done, the act if it may be done now, and the device before it."""
        before = self._known(device)
        now = max([self._now(), *(moment(each.at) for each in before.deeds[-1:])])  # a clock may have been set back
        at = stamp(now)
        try:
            act = pin_act.allowed(approved, self._trusted, moment(at))
        except ActRefusedError as error:
            raise RefusedError(error.code, str(error)) from error
        if act.kind not in kinds or act.device_id != str(device):
            text = f"the act is {act.kind} of device {act.device_id}, asked was {' or '.join(kinds)} of {device}"
            raise RefusedError(Code.STATEMENT_INVALID, text)
        if any(each.envelope.payload_sha256 == approved.payload_sha256 for each in before.deeds):
            raise self._used()
        if act.kind in CAUSES and self._trusted.root.revocation_key is None:
            text = "the trust root names no revocation key: nothing can be revoked or scrapped"
            raise RefusedError(Code.NOT_AUTHORISED, f"{text}; have a root made that names the cloud signer's")
        return at, act, before

    def _insert(
        self, approved: Envelope, act: PinAct, before: Reading, at: str, new: NewKey | None = None, *,
        use_code: Callable[[], UseCode] | None = None,
    ) -> None:  # fmt: skip
        """Do it, if what it finds lets it; RefusedError, and nothing is done."""
        try:
            fingerprint = "" if new is None else new.fingerprint
            life = pin_life.after(before.life, act, before.papers.order, moment(at), fingerprint)
        except LifeError as error:
            raise RefusedError(error.code, str(error)) from error
        made = NewAct(
            device_id=act.device_id, number=len(before.deeds) + 1, kind=act.kind, act=approved, was=before.life,
            life=life, at=at, new_key=new,
        )  # fmt: skip
        use = None if use_code is None else use_code()  # the act could be done: no code is asked of anybody before
        try:
            with self._database.write() as connection:
                # Code and act in one transaction: a crash gives both or neither.
                if use is not None:
                    use(connection)
                acts_store.insert_act(connection, made)
                self._free_place(connection, act, before)
        except IntegrityError as error:
            raise self._why(made) from error

    def _free_place(self, connection: Connection, act: PinAct, before: Reading) -> None:
        """One more unit may be completed for one that was and is scrapped; once a device, whatever was taken back."""
        done = before.papers.completion
        if act.kind == "scrap" and done is not None and all(each.act.kind != "scrap" for each in before.deeds):
            counts.free_place(connection, before.papers.pin.order_sha256, done.station)

    def _why(self, made: NewAct) -> RefusedError:
        """What stood against it."""
        with self._database.read() as connection:
            used = acts_store.act_is_used(connection, made.act.payload_sha256)
            owners = [] if made.new_key is None else acts_store.owners_of(connection, made.new_key)
        if used:
            return self._used()
        others = [each for each in owners if each != made.device_id]
        if others:
            text = f"this key, its modulus or a nonce is known of device {others[0]}: keys repeat, stop"
            return RefusedError(Code.KEY_ON_OTHER_DEVICE, text)
        if owners:
            text = "this key, its modulus or a nonce was this device's before: a key does not come back"
            return RefusedError(Code.PROOF_INVALID, f"{text}; have the device make another one")
        text = "the device has changed meanwhile, or the challenge was used: look at it"
        return RefusedError(Code.ACT_CONFLICT, f"{text} (GET /v1/devices/ID) and try again, perhaps with another act")

    def _used(self) -> RefusedError:
        self._database.assure()
        return RefusedError(Code.ACT_USED, "this act was done before: have another one made and approved")

    def _known(self, device: DeviceId) -> Reading:
        found = self.find(device)
        if found is None:
            raise RefusedError(Code.NOT_PINNED, f"device {device} has no pin")
        return found

    def _require_challenge(self, device: DeviceId, challenge: bytes) -> None:
        with self._database.read() as connection:
            good = acts_store.challenge_is_good(connection, challenge, str(device), stamp(self._now()))
        if not good:
            text = "the challenge is none that was given out for this device, or is over"
            raise RefusedError(Code.CHALLENGE_UNKNOWN, f"{text}: ask POST /v1/devices/ID/challenge for another")

    def _statement(self, device: DeviceId, approved: Envelope, shown: Shown) -> Repin:
        leave = "" if shown.authorisation is None else shown.authorisation.payload_sha256
        try:
            key = PublicKey.from_der(shown.spki)
            over = bound(shown.challenge, approved.payload_sha256, leave, key.fingerprint)
        except (PublicKeyError, ValueError) as error:
            raise RefusedError(Code.STATEMENT_INVALID, f"new key: {error}") from error
        old = shown.old_signatures
        return Repin(
            environment=self._trusted.root.environment, root_sha256=self._trusted.sha256,
            registry=self._trusted.root.registry, device_id=str(device), act_sha256=approved.payload_sha256,
            authorisation_sha256=leave, challenge=shown.challenge, key_type=key.key_type.value, spki=key.spki,
            fingerprint=key.fingerprint,
            possession=Possession(challenge=over, context=NEW, signatures=shown.signatures),
            old_possession=None if old is None else Possession(challenge=over, context=OLD, signatures=old),
        )  # fmt: skip


def _pinned(reading: Reading) -> PublicKey:
    """The device's newest key."""
    return next(each.key for each in reading.keys if each.key.fingerprint == reading.life.fingerprint)


def _no_code(_keys: frozenset[str]) -> UseCode:
    raise RefusedError(Code.SECOND_FACTOR_NEEDED, "this act wants its approver's one-time code beside it")
