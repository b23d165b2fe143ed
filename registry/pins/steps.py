"""Steps of a re-key that are due: the registry has its signer say the authority's word for them, and for no other.

The signer verifies the approvals itself; whether a step is due only the registry can know. An act that gives a new key
is done once that is pinned; of the others the words are kept (`registry.pins.words`), which end them. Gives no word for
one of these that is not on record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from hsm.signer import AuthorisationRequest, ReceiptSigner, SignerError, SignerUnavailableError
from registry.clock import stamp
from registry.database import Database
from registry.errors import ReceiptUnavailableError, RefusedError
from registry.pins import words
from registry.pins.reading import Reading
from trust import pin_act, rekey
from trust.act import ActRefusedError
from trust.codes import Code
from trust.dsse import Envelope
from trust.identity import DeviceId
from trust.keys import PublicKey
from trust.pin_act import PinAct
from trust.rekey import RekeyError, Step
from trust.root import TrustedRoot
from trust.statement import moment

_log = logging.getLogger(__name__)


class StepService:
    """The registry's answer to who has a locked device on a bench. Safe to call from many threads."""

    def __init__(
        self, database: Database, find: Callable[[DeviceId], Reading | None], trusted: TrustedRoot,
        signer: ReceiptSigner, now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._database = database
        self._find = find
        self._now = now
        self._trusted = trusted
        self._signer = signer

    def authorise(self, device: DeviceId, request: AuthorisationRequest) -> Envelope:
        """The word for this step, over this nonce; the same request gives the same bytes.

        RefusedError; ReceiptUnavailableError while the signer is away.
        """
        reading = self._find(device)
        if reading is None:
            raise RefusedError(Code.NOT_PINNED, f"device {device} has no pin")
        try:
            act = pin_act.body(request.act)
        except ActRefusedError as error:
            raise RefusedError(error.code, str(error)) from error
        if act.kind != "rekey" or act.device_id != str(device):
            text = f"the act is {act.kind} of device {act.device_id}, asked was rekey of {device}"
            raise RefusedError(Code.STATEMENT_INVALID, text)
        early = not_due(act, request, reading)
        if early is not None:
            raise RefusedError(Code.ACT_CONFLICT, f"step {request.step.value}: {early}")
        return self._kept(request) if request.step in rekey.UNSEEN else self._signed(request)

    def _kept(self, request: AuthorisationRequest) -> Envelope:
        """The word, on record before anybody has it; RefusedError once the act has had its words."""
        at = moment(stamp(self._now()))
        try:
            pin_act.on_record(request.act, self._trusted, at)  # as who reads the record later asks
        except ActRefusedError as error:
            raise RefusedError(error.code, str(error)) from error
        with self._database.read() as connection:
            number = words.next_number(connection, request, at)
        signed = self._signed(request)
        # A crash right here: the signer remembers a word that nobody has. Asked for again, it is the same one.
        try:
            if number is not None:
                with self._database.write() as connection:
                    words.keep(connection, request, signed, number, at)
        except IntegrityError as error:
            text = "another word of this act was given at this moment: ask again, if you did not ask for that one"
            raise RefusedError(Code.ACT_CONFLICT, text) from error
        return signed

    def _signed(self, request: AuthorisationRequest) -> Envelope:
        keys = [PublicKey.from_der(each) for each in self._trusted.root.cloud_keys.authority]
        try:
            signed = self._signer.sign_authorisation(request)
            rekey.authorised(signed, keys)
        except SignerError as error:
            raise RefusedError(error.code, str(error)) from error
        except (SignerUnavailableError, RekeyError) as error:
            _log.warning("an authorisation is not signed", exc_info=error, extra={"part": "signer"})
            raise ReceiptUnavailableError(f"the authorisation cannot be signed now: {error}") from error
        return signed


def not_due(act: PinAct, request: AuthorisationRequest, reading: Reading) -> str | None:
    """Why this step of the act must not be done to the device as it is pinned now; None if it may."""
    if reading.life.state == "scrapped":
        return "the device is scrapped: have that taken back first"
    done = any(each.envelope.payload_sha256 == request.act.payload_sha256 for each in reading.deeds)
    if request.step in {Step.COMMIT, Step.END_OLD_KEY}:
        return _after_pinning(act, request, reading, done=done)
    life = reading.life
    if done or life.fingerprint != act.fingerprint:
        return f"the device is pinned with key {life.fingerprint[:16]}…, the act is about {act.fingerprint[:16]}…"
    if request.step is Step.NEW_KEY and life.state == "provisional":
        return "the device is not finished: a new key is for one that is"
    return None


def _after_pinning(act: PinAct, request: AuthorisationRequest, reading: Reading, *, done: bool) -> str | None:
    if not done or reading.life.fingerprint != request.new_fingerprint:
        return "the new key is not pinned by this act: have it pinned first (POST /v1/devices/ID/repin)"
    old = next((each for each in reading.keys if each.key.fingerprint == act.fingerprint), None)
    if request.step is Step.END_OLD_KEY and old is not None and old.state in {"active", "expiring"}:
        return f"the old key is good until {old.until}: it is ended then"
    return None
