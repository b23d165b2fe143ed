"""Sign the heads of the station's log: never two that lack a consistency proof between them.

The new head is on disk, compared with the last one and swapped in, before its signature leaves the token (C2SP
tlog-checkpoint). Never sees a leaf.
"""

from __future__ import annotations

import hashlib

from hsm.purposes import Purpose
from hsm.records import Head
from hsm.signatory import Signatory
from hsm.signer import CheckpointRequest, SignerError
from hsm.token import TokenError
from trust import merkle, signed_note
from trust.codes import Code
from trust.keys import PublicKey, PublicKeyError
from trust.signed_note import NoteError, NoteKey

_MAX_GROWTH = 1_000_000  # leaves between two heads: a head beyond all growth would end this log for good


def sign_checkpoint(signatory: Signatory, request: CheckpointRequest) -> str:
    """The checkpoint as a signed note; CHECKPOINT_CONFLICT unless it extends the last one signed."""
    text = _text(signatory, request)
    counters = signatory.counters
    with counters.transaction():
        same = counters.head(request.origin, request.size)
        if same is None:
            _require_extension(counters.head(request.origin), request)
            counters.add_head(request.origin, request.size, request.root_hash)
            counters.count_signature(Purpose.LOG)
        elif same.root_hash != request.root_hash:
            text = (
                f"log {request.origin} was signed at size {request.size} with another root hash: it has been rewritten"
            )
            raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")
        elif same.note is not None:
            return same.note
        else:
            counters.count_signature(Purpose.LOG, again=True)
    # A crash from here on: the head is on disk without its note, and only this very head will be signed for this size.
    note = signed_note.assemble(text, _line(signatory, request.origin, text))
    with counters.transaction():
        return counters.store_note(request.origin, request.size, note)


def _text(signatory: Signatory, request: CheckpointRequest) -> str:
    """The note's text, if its origin is this station's log."""
    wanted = signatory.trusted.root.log_origin(signatory.name)
    if request.origin != wanted:
        raise SignerError(Code.NOT_AUTHORISED, f"log origin {request.origin[:80]!r}: this signer signs {wanted!r} only")
    if request.size < 0 or request.old_size < 0:
        raise SignerError(Code.MALFORMED, "a log's size is not negative")
    try:
        return signed_note.checkpoint_text(request.origin, request.size, request.root_hash)
    except NoteError as error:
        raise SignerError(Code.MALFORMED, str(error)) from error


def _require_extension(last: Head | None, request: CheckpointRequest) -> None:
    size = 0 if last is None else last.size
    if request.old_size != size or request.size < size:
        text = f"log {request.origin}: the last checkpoint signed has size {size}; prove from there, to a larger size"
        raise SignerError(Code.CHECKPOINT_CONFLICT, text)
    if request.size - size > _MAX_GROWTH:
        text = f"log {request.origin}: size {request.size} is more than {_MAX_GROWTH} beyond the last signed, {size}"
        raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")
    root = merkle.EMPTY_ROOT if last is None else last.root_hash
    if not merkle.verify_consistency(size, request.size, root, request.root_hash, request.proof):
        text = f"log {request.origin}: size {request.size} is not proven to extend size {size}"
        raise SignerError(Code.CHECKPOINT_CONFLICT, f"{text}; stop and call the line engineer")


def _line(signatory: Signatory, origin: str, text: str) -> str:
    message, spki = text.encode(), signatory.token.public_key(Purpose.LOG)
    try:
        PublicKey.from_der(spki)
    except PublicKeyError:  # not EC P-256: the log key is Ed25519
        signature = signatory.token.sign_ed25519(Purpose.LOG, message)
    else:
        signature = signatory.token.sign_ecdsa(Purpose.LOG, hashlib.sha256(message).digest())
    if not NoteKey(origin, spki).verifies(signature, text):
        raise TokenError("the token's log signature does not verify: take the token out of use")
    return signed_note.sign_line(origin, spki, signature)
